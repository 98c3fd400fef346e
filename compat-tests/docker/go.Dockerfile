# SPDX-License-Identifier: Apache-2.0
FROM scratch
COPY agent /agent
ENV HOME=/ TMPDIR=/
ENTRYPOINT ["/agent"]
