# SPDX-License-Identifier: Apache-2.0
# The server under test, built on the host: the fast path beside the multi-stage Dockerfile that users run, with the same
# user and folders.
FROM scratch
COPY --chown=3000:3000 home /home
COPY ferrocket /ferrocket
USER 3000:3000
ENV HOME=/home/rocketmq
WORKDIR /home/rocketmq
ENTRYPOINT ["/ferrocket"]
