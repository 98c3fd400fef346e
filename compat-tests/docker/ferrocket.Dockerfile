# SPDX-License-Identifier: Apache-2.0
# The server under test, built on the host: the fast path beside the multi-stage Dockerfile that users run.
FROM scratch
COPY ferrocket /ferrocket
WORKDIR /data
ENTRYPOINT ["/ferrocket"]
