// SPDX-License-Identifier: Apache-2.0
//! The permission bits of a topic, a queue and a broker.

pub const INHERIT: i32 = 1;
pub const WRITE: i32 = 2;
pub const READ: i32 = 4;
pub const PRIORITY: i32 = 8;
pub const READ_WRITE: i32 = READ | WRITE;

pub const fn is_readable(perm: i32) -> bool {
    perm & READ == READ
}
pub const fn is_writable(perm: i32) -> bool {
    perm & WRITE == WRITE
}
pub const fn is_inherited(perm: i32) -> bool {
    perm & INHERIT == INHERIT
}
pub const fn is_valid(perm: i32) -> bool {
    perm >= 0 && perm < PRIORITY
}

/// `RW-`, as tools print it.
pub fn text(perm: i32) -> String {
    let letter = |set: bool, letter: char| if set { letter } else { '-' };
    [letter(is_readable(perm), 'R'), letter(is_writable(perm), 'W'), letter(is_inherited(perm), 'X')].iter().collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn prints_as_the_tools_do() {
        assert_eq!([6, 4, 2, 7, 1, 0].map(super::text), ["RW-", "R--", "-W-", "RWX", "--X", "---"]);
    }
}
