//! `completion`: what a shell needs to complete our commands and flags.

use clap_complete::{Shell, generate};

use crate::arguments;

/// The script for one of [`arguments::SHELLS`].
pub(super) fn script(shell: &str) -> String {
    let shell = match shell {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => Shell::PowerShell,
    };
    let mut out = Vec::new();
    generate(shell, &mut arguments::commands().no_binary_name(false), "etcdutl", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}
