//! Shell completions and man pages, made from the definition of the arguments.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use crate::Cli;
use crate::exit::{self, Failure};
use crate::output::unwritable;

/// Print the completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  source <(distsync completions bash)\n  \
                  distsync completions fish > ~/.config/fish/completions/distsync.fish")]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(crate) fn execute(&self) -> Result<ExitCode, Failure> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut visible(), "distsync", &mut text);
        let written = std::io::Write::write_all(&mut std::io::stdout(), &text);
        written.map_err(|error| unwritable(&error))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Write the completions and the man pages into the folders `completions` and `man` of a folder.
#[derive(Debug, Args)]
pub(crate) struct Pages {
    /// The folder. `deploy` in the repository.
    folder: PathBuf,
}

impl Pages {
    pub(crate) fn execute(&self) -> Result<ExitCode, Failure> {
        let written = self.write();
        written.map_err(|error| {
            let folder = self.folder.display();
            let problem = format!("cannot write to {folder}: give a folder to write to ({error})");
            Failure::new(exit::OTHER, problem)
        })?;
        Ok(ExitCode::SUCCESS)
    }

    fn write(&self) -> std::io::Result<()> {
        let completions = emptied(&self.folder.join("completions"))?;
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            clap_complete::generate_to(shell, &mut visible(), "distsync", &completions)?;
        }
        clap_mangen::generate_to(Cli::command(), emptied(&self.folder.join("man"))?)
    }
}

/// Returns the path of a folder after removing everything in it, so that no page of a former
/// command remains.
fn emptied(folder: &Path) -> std::io::Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    Ok(folder.to_owned())
}

/// Returns the command without its hidden subcommands, which `clap_complete` offers in bash.
fn visible() -> Command {
    let all = Cli::command();
    let shown = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    Command::new("distsync")
        .version(env!("CARGO_PKG_VERSION"))
        .args(all.get_arguments())
        .subcommands(shown)
}
