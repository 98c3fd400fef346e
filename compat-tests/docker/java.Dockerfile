# SPDX-License-Identifier: Apache-2.0
# Every Java part of the compat tests: client agents, mqadmin agents, and the original's servers (the oracle).
FROM eclipse-temurin:17-jre
COPY . /opt/
WORKDIR /tmp
