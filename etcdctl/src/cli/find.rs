//! From the words of the command line to the command meant, as cobra finds it.
//!
//! Flags may stand before, between and after the words of a command, so each level skips what it
//! knows (or takes) to be a flag and its value. What is left of the arguments, flags included, is
//! parsed by the command found.

use std::ffi::{OsStr, OsString};

use super::spec::{Command, Flag, Kind};
use super::tree::ROOT;

/// The command found, and what of the arguments is not its name.
pub(crate) struct Found {
    /// From the root to the command.
    pub(crate) path: Vec<&'static Command>,
    /// Flags and positional arguments.
    pub(crate) rest: Vec<OsString>,
}

/// A word that selects no command, with the names it may have meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownCommand {
    /// The word as typed.
    pub(crate) word: String,
    /// Similar names, in the order of the alphabet.
    pub(crate) suggestions: Vec<&'static str>,
}

impl UnknownCommand {
    /// The text owed on standard error.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("Error: unknown command {} for \"etcdctl\"\n", quoted(&self.word));
        if !self.suggestions.is_empty() {
            text.push_str("\nDid you mean this?\n");
            for name in &self.suggestions {
                text.push_str(&format!("\t{name}\n"));
            }
            text.push('\n');
        }
        text + "Run 'etcdctl --help' for usage.\n"
    }
}

impl Found {
    /// The command itself.
    pub(crate) fn command(&self) -> &'static Command {
        self.path.last().copied().unwrap_or(&ROOT)
    }

    /// The words of the command below the root, `member list`.
    pub(crate) fn words(&self) -> String {
        let names: Vec<&str> = self.path.iter().skip(1).map(|command| command.name).collect();
        names.join(" ")
    }
}

/// Finds the command of `arguments`, which do not hold the program's own name.
///
/// # Errors
/// A first word that no command of the root answers to. Below the root an unknown word selects
/// the group itself, which then prints its help.
pub(crate) fn find(arguments: &[OsString]) -> Result<Found, UnknownCommand> {
    let mut found = Found { path: vec![&ROOT], rest: arguments.to_vec() };
    loop {
        let flags = flags_of(&found.path);
        let Some(position) = first_word(&found.rest, &flags) else { return Ok(found) };
        let word = found.rest[position].to_string_lossy().into_owned();
        if let Some(child) = select(found.command().children, &word) {
            found.rest.remove(position);
            found.path.push(child);
        } else if found.path.len() == 1 {
            let suggestions = suggestions(&word);
            return Err(UnknownCommand { word, suggestions });
        } else {
            return Ok(found);
        }
    }
}

/// Every flag valid at the end of `path`, its own ones first.
pub(crate) fn flags_of(path: &[&'static Command]) -> Vec<&'static Flag> {
    let own = path.last().into_iter().flat_map(|command| command.flags);
    own.chain(path.iter().rev().flat_map(|command| command.shared_flags)).collect()
}

/// Position of the first argument that is neither a flag nor the value of one.
fn first_word(arguments: &[OsString], flags: &[&'static Flag]) -> Option<usize> {
    let mut position = 0;
    while let Some(argument) = arguments.get(position) {
        let text = argument.to_string_lossy();
        if text == "--" {
            return None;
        }
        if takes_next(&text, flags) {
            position += 1;
        } else if !text.is_empty() && !text.starts_with('-') {
            return Some(position);
        }
        position += 1;
    }
    None
}

/// True for a flag whose value is the next argument; an unknown flag is taken for one.
fn takes_next(text: &str, flags: &[&'static Flag]) -> bool {
    let is_switch = |flag: &&&Flag| flag.kind == Kind::Bool;
    if text.contains('=') {
        return false;
    }
    if let Some(name) = text.strip_prefix("--") {
        return name != "help" && !flags.iter().any(|f| f.long == name && is_switch(&f));
    }
    let mut letters = text.strip_prefix('-').unwrap_or_default().chars();
    match (letters.next(), letters.next()) {
        (Some('h'), None) => false,
        (Some(letter), None) => !flags.iter().any(|f| f.short == Some(letter) && is_switch(&f)),
        _ => false,
    }
}

/// The child called `word`, or the only one whose name starts so.
fn select(children: &'static [Command], word: &str) -> Option<&'static Command> {
    if let Some(exact) = children.iter().find(|child| child.name == word) {
        return Some(exact);
    }
    let mut candidates = children.iter().filter(|child| child.name.starts_with(word));
    let first = candidates.next();
    if candidates.next().is_some() { None } else { first }
}

/// Names at an edit distance of at most two, or that the word begins.
fn suggestions(word: &str) -> Vec<&'static str> {
    let typed = word.to_lowercase();
    let mut names: Vec<&'static str> = ROOT
        .children
        .iter()
        .filter(|child| !child.hidden)
        .map(|child| child.name)
        .filter(|name| edit_distance(&typed, name) <= 2 || name.starts_with(&typed))
        .collect();
    names.sort_unstable();
    names
}

/// Levenshtein distance: insertions, deletions and substitutions.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

fn quoted(word: impl AsRef<OsStr>) -> String {
    base::text::quote(word.as_ref().to_string_lossy().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> (String, Vec<String>) {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let found = find(&words).unwrap_or_else(|unknown| panic!("{unknown:?}"));
        let rest = found.rest.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        (found.words(), rest)
    }

    fn unknown(line: &str) -> String {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        match find(&words) {
            Ok(found) => panic!("found {}", found.words()),
            Err(unknown) => unknown.text(),
        }
    }

    #[test]
    fn flags_may_stand_before_and_between_the_words_of_a_command() {
        let (words, rest) = found("--endpoints a:1 -w json member --hex list x");
        assert_eq!(words, "member list");
        assert_eq!(rest, ["--endpoints", "a:1", "-w", "json", "--hex", "x"]);
    }

    #[test]
    fn an_unambiguous_prefix_selects_and_an_exact_name_always_wins() {
        assert_eq!(found("ge k").0, "get");
        assert_eq!(found("mem l").0, "member list");
        assert_eq!(found("lease l").0, "lease list");
        assert!(unknown("de k").starts_with("Error: unknown command \"de\" for \"etcdctl\"\n"));
    }

    #[test]
    fn an_unknown_word_below_a_group_selects_the_group() {
        assert_eq!(found("member nosuch").0, "member");
        assert_eq!(found("member --bogus list").0, "member");
    }

    #[test]
    fn a_typing_error_gets_suggestions_within_two_edits() {
        let text = "Error: unknown command \"snaphost\" for \"etcdctl\"\n\nDid you mean this?\n\
                    \tsnapshot\n\nRun 'etcdctl --help' for usage.\n";
        assert_eq!(unknown("snaphost save x"), text);
        assert_eq!(
            unknown("nosuchcommand"),
            "Error: unknown command \"nosuchcommand\" for \"etcdctl\"\n\
             Run 'etcdctl --help' for usage.\n"
        );
    }

    #[test]
    fn edit_distance_counts_each_kind_of_edit_once() {
        assert_eq!(edit_distance("gett", "get"), 1);
        assert_eq!(edit_distance("snaphost", "snapshot"), 2);
        assert_eq!(edit_distance("", "put"), 3);
    }
}
