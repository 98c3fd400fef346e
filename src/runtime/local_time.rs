// SPDX-License-Identifier: Apache-2.0
//! Local time, for what people and the original reckon in it: `deleteWhen`, index file names, the end of a minute, an hour, a day.
//!
//! `TZ` is honoured from built-in zone data, so that an image without `/usr/share/zoneinfo` keeps the hours of its operator.

use std::sync::OnceLock;

use chrono::{DateTime, NaiveDateTime, Offset, TimeZone, Utc};

/// What the clocks on the wall showed at that moment (milliseconds since 1970).
pub fn local_time(millis: i64) -> NaiveDateTime {
    static ZONE: OnceLock<Option<chrono_tz::Tz>> = OnceLock::new();
    let zone = ZONE.get_or_init(|| zone_named(&std::env::var("TZ").unwrap_or_default()));
    match zone {
        Some(zone) => local_time_in(*zone, millis),
        // No name in TZ: the machine's /etc/localtime, or a POSIX rule in TZ; UTC where there is neither.
        None => local_time_in(chrono::Local, millis),
    }
}

fn local_time_in<Z: TimeZone>(zone: Z, millis: i64) -> NaiveDateTime {
    let utc = DateTime::<Utc>::from_timestamp_millis(millis).unwrap_or_default().naive_utc();
    utc + zone.offset_from_utc_datetime(&utc).fix()
}

fn zone_named(name: &str) -> Option<chrono_tz::Tz> {
    name.strip_prefix(':').unwrap_or(name).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_zone_needs_no_files() {
        let shown = |name: &str, millis| local_time_in(zone_named(name).unwrap(), millis).to_string();
        // 2026-07-01T20:30:00Z and 2026-01-01T20:30:00Z.
        assert_eq!(shown("Asia/Shanghai", 1_782_937_800_000), "2026-07-02 04:30:00");
        assert_eq!(shown(":Europe/Berlin", 1_782_937_800_000), "2026-07-01 22:30:00");
        assert_eq!(shown("Europe/Berlin", 1_767_299_400_000), "2026-01-01 21:30:00");
        assert_eq!(zone_named("CET-1CEST,M3.5.0,M10.5.0/3"), None);
    }
}
