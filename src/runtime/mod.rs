// SPDX-License-Identifier: Apache-2.0
//! What everything that runs is owned by: the clock, tasks, threads and the orderly stop.
