# What `invoke add-package` asks of the lab's image. Nothing is built on these stages.
# lab-base and lab-final are the stages of docker/Dockerfile; `labcrate-candidate` is the next docker/.

# What packages.in adds to what the base really holds, as a lock.
FROM lab-base AS resolver
ARG ASKED
ARG LAB_UID=1000
ARG LAB_GID=1000
ARG LAB_NAME=unnamed
USER ${LAB_UID}:${LAB_GID}
RUN --mount=type=cache,id=labcrate-uv-${LAB_NAME}-${LAB_UID},target=/var/cache/uv,uid=${LAB_UID},gid=${LAB_GID} \
    --mount=from=labcrate-candidate,target=/tmp/docker \
    --mount=source=inside.py,target=/parts/inside.py --mount=source=with-host,target=/parts/with-host \
    --mount=from=labcrate-wheels,target=/wheels \
    --mount=type=secret,id=uv.toml,mode=0444 --mount=type=secret,id=pip.conf,mode=0444 \
    --mount=type=secret,id=ca.pem,mode=0444 \
    : labcrate 'resolving packages.in'; mkdir /tmp/resolved \
    && UV_CACHE_DIR=/var/cache/uv HOME=/tmp \
        sh /parts/with-host python -I /parts/inside.py resolve /tmp/docker /tmp/resolved
FROM scratch AS resolved
COPY --from=resolver /tmp/resolved /

# Whether the base is as it was, and whether what is new imports. Without a network: the answer
# must not depend on one.
FROM lab-final AS verifier
ARG ASKED
ARG NAMES
RUN --network=none --mount=from=labcrate-candidate,target=/tmp/docker \
    --mount=source=inside.py,target=/parts/inside.py \
    : labcrate 'checking whether everything works'; mkdir /tmp/verified \
    && python -I /parts/inside.py verify /tmp/docker /tmp/verified ${NAMES}
FROM scratch AS verified
COPY --from=verifier /tmp/verified /
