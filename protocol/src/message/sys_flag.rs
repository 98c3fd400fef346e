// SPDX-License-Identifier: Apache-2.0
//! The bits of a message's `sysFlag`.

pub const COMPRESSED: i32 = 1;
pub const MULTI_TAGS: i32 = 1 << 1;

pub const TRANSACTION_NOT: i32 = 0;
pub const TRANSACTION_PREPARED: i32 = 1 << 2;
pub const TRANSACTION_COMMIT: i32 = 2 << 2;
pub const TRANSACTION_ROLLBACK: i32 = 3 << 2;
pub const TRANSACTION_MASK: i32 = 3 << 2;

/// The host that it was born at takes 20 bytes.
pub const BORN_HOST_V6: i32 = 1 << 4;
/// The host that it is stored at takes 20 bytes.
pub const STORE_HOST_V6: i32 = 1 << 5;
/// The body holds messages of its own that a client unwraps.
pub const NEED_UNWRAP: i32 = 1 << 6;
pub const INNER_BATCH: i32 = 1 << 7;

/// How the body is compressed: 0 is zlib from before the types had numbers.
pub const COMPRESSION_MASK: i32 = 0x7 << 8;
pub const COMPRESSION_LZ4: i32 = 0x1 << 8;
pub const COMPRESSION_ZSTD: i32 = 0x2 << 8;
pub const COMPRESSION_ZLIB: i32 = 0x3 << 8;

pub const fn transaction_type(flag: i32) -> i32 {
    flag & TRANSACTION_MASK
}

pub const fn with_transaction_type(flag: i32, kind: i32) -> i32 {
    flag & !TRANSACTION_MASK | kind
}

pub const fn has(flag: i32, bits: i32) -> bool {
    flag & bits == bits
}
