// SPDX-License-Identifier: Apache-2.0
//! `conf/broker.conf` and `conf/namesrv.conf`: every key with its meaning and default, written out from the declarations.

use super::{Keys, Standing};

/// The annotated file. `settings` are lines that are switched on in it; everything else is a comment with its default.
pub fn annotated<K: Keys>(title: &str, settings: &[(&str, &str)]) -> String {
    let defaults = K::default();
    let mut out = format!(
        "# {title}\n# Every key with its default; this file is written by the program's tests from the declarations in src/config.\n"
    );
    for (key, value) in settings {
        out.push_str(&format!("{key}={value}\n"));
    }
    let section = |out: &mut String, title: &str, keys: &dyn Fn(Standing) -> Option<String>, with_doc: bool| {
        out.push_str(&format!("\n# ---- {title}\n"));
        let mut last = String::new();
        for key in K::KEYS {
            let Some(remark) = keys(key.standing) else { continue };
            if with_doc {
                out.push_str(&format!("\n#{}\n", key.doc));
                if !remark.is_empty() {
                    out.push_str(&format!("# {remark}\n"));
                }
            } else if remark != last {
                out.push_str(&format!("\n# {remark}\n"));
                last = remark;
            }
            let value = defaults.get(key.name).unwrap_or_default();
            // Some defaults are this machine's.
            let value = if key.name.contains("hreadPoolNums") || key.name.ends_with("Threads") { "" } else { value.as_str() };
            out.push_str(&format!("#{}={value}\n", key.name));
        }
    };
    section(&mut out, "Honoured; a change by command holds at once", &|standing| (standing == Standing::Live).then(String::new), true);
    section(
        &mut out,
        "Honoured; a change by command holds after the next start",
        &|standing| (standing == Standing::Restart).then(String::new),
        true,
    );
    if K::KEYS.iter().any(|key| matches!(key.standing, Standing::Guarded(_))) {
        let guarded = |standing| match standing {
            Standing::Guarded(why) => Some(why.to_owned()),
            _ => None,
        };
        section(&mut out, "Not every value is served; others refuse the start", &guarded, false);
    }
    let mut reasons: Vec<&str> =
        K::KEYS.iter().filter_map(|key| if let Standing::Inert(why) = key.standing { Some(why) } else { None }).collect();
    reasons.sort_unstable();
    reasons.dedup();
    out.push_str("\n# ---- Accepted without effect\n");
    for reason in reasons {
        out.push_str(&format!("\n# Because {reason}:\n"));
        for key in K::KEYS.iter().filter(|key| key.standing == Standing::Inert(reason)) {
            out.push_str(&format!("# {}\n", key.name));
        }
    }
    out
}
