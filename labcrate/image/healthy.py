"""Whether a service of the lab answers: healthy.py PORT PATH. Run isolated (python -I -S).

Isolated, because the working folder is full of the owner's files, and one named random.py or
http.py would be imported in place of the standard library's.
"""

import http.client
import sys

ANSWER_S = 4
"""Seconds; Compose gives the whole check five."""


def main() -> int:
    port, path = int(sys.argv[1]), sys.argv[2]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    connection.request("GET", path)
    return int(connection.getresponse().status != http.client.OK)


if __name__ == "__main__":
    sys.exit(main())
