//! The Lua scripts, each whole with the prelude that it needs. EVALSHA first; the client sends the text when the server does
//! not know it (a restart, a fail-over, SCRIPT FLUSH).

use redis::Script;

/// A script on one name's line, after what `$first` begins with: the clock, and the name's record.
macro_rules! of_line {
    ($first:literal, $file:literal) => {
        Script::new(concat!(
            include_str!(concat!("scripts/", $first)),
            include_str!("scripts/line.lua"),
            include_str!(concat!("scripts/", $file))
        ))
    };
}

/// All scripts of the backend.
pub(crate) struct Scripts {
    pub(crate) open: Script,
    pub(crate) renew: Script,
    pub(crate) close: Script,
    pub(crate) list: Script,
    pub(crate) enqueue: Script,
    pub(crate) withdraw: Script,
    pub(crate) update: Script,
    pub(crate) settle: Script,
    pub(crate) queue: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            open: Script::new(include_str!("scripts/open.lua")),
            renew: Script::new(include_str!("scripts/renew.lua")),
            close: Script::new(include_str!("scripts/close.lua")),
            list: Script::new(include_str!("scripts/list.lua")),
            enqueue: of_line!("enqueue.free.lua", "enqueue.lua"),
            withdraw: of_line!("withdraw.free.lua", "withdraw.lua"),
            update: of_line!("now.lua", "update.lua"),
            settle: of_line!("now.lua", "settle.lua"),
            queue: of_line!("now.lua", "queue.lua"),
        }
    }
}
