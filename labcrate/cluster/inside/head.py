"""Runs in the head's container: asks Ray's dashboard, and runs a job. It has Ray, not labcrate.

python head.py ask PATH                 prints what the dashboard answers, as JSON
python head.py stop JOB                 has a job ended
python head.py run JOB FOLDER COMMAND   submits the folder's COMMAND and prints what the job prints
"""

import asyncio
import os
import shlex
import sys
import time
import urllib.error
import urllib.request

DASHBOARD = "http://127.0.0.1:8265"
WAIT_S = 60.0


def ask(path, data=None):
    with open(os.environ["RAY_AUTH_TOKEN_PATH"]) as file:
        head = {"Authorization": "Bearer " + file.read().strip()}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(DASHBOARD + path, headers=head, data=data)
        ) as got:
            print(got.read().decode())
    except urllib.error.HTTPError as error:
        sys.exit("%d %s" % (error.code, error.read().decode()))
    except OSError as error:
        sys.exit(str(error))


def stop(job):
    ask("/api/jobs/%s/stop" % job, data=b"")


async def follow(client, job):
    async for text in client.tail_job_logs(job):
        print(text, end="", flush=True)


def submit(client, job, folder, command):
    """A head that has just started has no agent yet, which takes the jobs."""
    deadline = time.monotonic() + WAIT_S
    where = {"working_dir": folder}
    while True:
        try:
            client.submit_job(entrypoint=command, submission_id=job, runtime_env=where)
            return
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                sys.exit(str(error))
        except ValueError as error:
            sys.exit(str(error))
        time.sleep(1)


def run(job, folder, *command):
    from ray.job_submission import JobSubmissionClient

    try:
        client = JobSubmissionClient(DASHBOARD)
    except ConnectionError as error:
        sys.exit(str(error))
    submit(client, job, folder, shlex.join(command))
    asyncio.run(follow(client, job))


if __name__ == "__main__":
    # lab.env may name a proxy, and this is the loopback.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    {"ask": ask, "run": run, "stop": stop}[sys.argv[1]](*sys.argv[2:])
