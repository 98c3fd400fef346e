// SPDX-License-Identifier: Apache-2.0
//! Queue locks of orderly consumers: all is in the body, the fields only say for whom the request is.

use super::header;
use crate::str::Str;

header! {
    /// LOCK_BATCH_MQ (41).
    pub struct LockBatchMqRequestHeader {
        "bname" => broker_name: Option<Str>,
    }

    /// UNLOCK_BATCH_MQ (42).
    pub struct UnlockBatchMqRequestHeader {
        "bname" => broker_name: Option<Str>,
    }
}
