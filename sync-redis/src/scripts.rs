//! The Lua scripts, each assembled from the files that it needs.
//!
//! Scripts are called with EVALSHA. The client sends the text of a script if the server does not
//! know it, for instance after a restart, a fail-over or SCRIPT FLUSH.

use redis::Script;

macro_rules! text {
    ($($file:literal),+) => {
        concat!($(include_str!(concat!("scripts/", $file))),+)
    };
}

/// Creates a script from these files, concatenated.
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
            // Creating Lua closures costs as much as a simple step. The functions that work on
            // queues are therefore created only when a step needs them.
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
