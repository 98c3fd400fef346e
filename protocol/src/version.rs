// SPDX-License-Identifier: Apache-2.0
//! The version number in every command: the ordinal of a release in the original's list. Only those that change behaviour are named.

/// What we speak and say in every answer: 5.5.0.
pub const CURRENT: i32 = V5_5_0;
/// `brokerVersionDesc` of the runtime info.
pub const CURRENT_NAME: &str = "V5_5_0";

/// The first that may be told to reset its offsets or asked for its status (220, 221).
pub const V3_0_7_SNAPSHOT: i32 = 28;
/// The first whose registration body is a RegisterBrokerBody.
pub const V3_0_11: i32 = 37;
/// The first that may be asked for its running info (307) or to consume directly (309).
pub const V3_1_8_SNAPSHOT: i32 = 62;
/// The first whose `maxReconsumeTimes` counts instead of the group's.
pub const V3_4_9: i32 = 121;
/// A Java client that sees less in the heartbeat's answer refuses SQL92.
pub const V4_1_0_SNAPSHOT: i32 = 232;
pub const V4_5_2: i32 = 317;
pub const V4_9_3: i32 = 399;
/// The first that reads a route in standard JSON.
pub const V4_9_4: i32 = 401;
pub const V4_9_7: i32 = 407;
/// The first whose compressed registration has a mapping section.
pub const V5_0_0: i32 = 413;
/// Clients above it are told GO_AWAY at shutdown.
pub const V5_3_1: i32 = 475;
pub const V5_3_3: i32 = 479;
pub const V5_5_0: i32 = 513;
