//! The settings of a store that make it worse, as far as this client can see them.

use distsync::Capabilities;

/// Returns a warning for each setting, with its remedy.
pub(super) async fn warnings(url: &str, capabilities: &Capabilities) -> Vec<String> {
    let mut warnings = Vec::new();
    if capabilities.backend == "netlock" && !capabilities.survives_restart {
        warnings.push(
            "netlockd runs without a data folder, so a restart forgets all locks: start it with --data-dir"
                .to_owned(),
        );
    }
    let _ = url;
    warnings
}
