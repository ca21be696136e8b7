//! The Lua scripts, each whole with what stands before it. EVALSHA first; the client sends the text when the server does
//! not know it (a restart, a fail-over, SCRIPT FLUSH).

use redis::Script;

macro_rules! text {
    ($($file:literal),+) => {
        concat!($(include_str!(concat!("scripts/", $file))),+)
    };
}

/// A script of these files, one after the other.
macro_rules! script {
    ($($file:literal),+) => {
        Script::new(text!($($file),+))
    };
}

/// All scripts of the backend.
pub(crate) struct Scripts {
    pub(crate) open: Script,
    pub(crate) renew: Script,
    pub(crate) close: Script,
    pub(crate) list: Script,
    pub(crate) steps: Script,
    pub(crate) update: Script,
    pub(crate) settle: Script,
    pub(crate) snapshot: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            open: script!("prelude.lua", "now.lua", "open.lua"),
            renew: script!("prelude.lua", "now.lua", "renew.lua"),
            close: script!("prelude.lua", "close.lua"),
            list: script!("prelude.lua", "now.lua", "list.lua"),
            // Most steps need none of what works on a line, so that is made only when it is wanted; and most that come by
            // themselves not even a function.
            steps: Script::new(concat!(
                text!("uncontended.lua", "prelude.lua"),
                "local function functions()\n",
                text!("queue.lua", "enqueue.lua", "withdraw.lua"),
                "return enqueue, withdraw\nend\n",
                text!("steps.lua")
            )),
            update: script!("prelude.lua", "now.lua", "queue.lua", "update.lua"),
            settle: script!("prelude.lua", "now.lua", "queue.lua", "settle.lua"),
            snapshot: script!("prelude.lua", "now.lua", "queue.lua", "snapshot.lua"),
        }
    }
}
