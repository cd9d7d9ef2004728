//! Help and usage texts, in the layout cobra and pflag give them.

use super::find::flags_of;
use super::spec::{Command, Flag, Kind, Section};
use super::tree::{GLOBAL_FLAGS, ROOT};

/// Commands are padded to this width in lists.
const NAME_WIDTH: usize = 11;
const OPTIONS_LINE: &str = "Use \"etcdctl options\" for a list of global command-line options \
                            (applies to all commands).\n";

/// The whole help of the command at the end of `path`: description, usage, options line.
pub(crate) fn help(path: &[&'static Command]) -> String {
    let command = path.last().copied().unwrap_or(&ROOT);
    let description = if command.long.is_empty() { command.short } else { command.long };
    format!("{description}\n\n{}{OPTIONS_LINE}", usage(path))
}

/// The usage block of the command at the end of `path`.
pub(crate) fn usage(path: &[&'static Command]) -> String {
    let command = path.last().copied().unwrap_or(&ROOT);
    let names: Vec<&str> = path.iter().map(|command| command.name).collect();
    let names = names.join(" ");
    if path.len() <= 1 {
        return format!("Usage:\n  etcdctl [command]\n\n{}{}", sections(), more("etcdctl"));
    }
    if command.children.is_empty() {
        let mut text = format!("Usage:\n  {}\n", usage_line(&names, command));
        text.push_str("\nFlags:\n");
        text.push_str(&flag_lines(own_flags(command)));
        let inherited: Vec<&Flag> = flags_of(path)
            .into_iter()
            .filter(|flag| {
                !is_global(flag) && !command.flags.iter().any(|f| std::ptr::eq(f, *flag))
            })
            .collect();
        if !inherited.is_empty() {
            text.push_str("\nGlobal Flags:\n");
            text.push_str(&flag_lines(inherited.into_iter().map(Line::of)));
        }
        return text;
    }
    let mut text = format!("Usage:\n  {names} [command]\n\nAvailable Commands:\n");
    for child in command.children.iter().filter(|child| !child.hidden) {
        text.push_str(&command_line(child));
    }
    text.push_str("\nFlags:\n");
    text.push_str(&flag_lines(own_flags(command)));
    text.push('\n');
    text + &more(&names)
}

/// The output of `etcdctl options`.
pub(crate) fn options() -> String {
    let lines = flag_lines(GLOBAL_FLAGS.iter().map(Line::of));
    format!("The following options can be passed to any command:\n\n{lines}")
}

fn usage_line(names: &str, command: &Command) -> String {
    let mut line = names.to_owned();
    if !command.arguments.is_empty() {
        line.push(' ');
        line.push_str(command.arguments);
    }
    if command.name != "completion" {
        line.push_str(" [flags]");
    }
    line
}

fn more(names: &str) -> String {
    format!("Use \"{names} [command] --help\" for more information about a command.\n")
}

fn sections() -> String {
    let mut text = String::new();
    for (section, heading) in Section::ALL {
        text.push_str(heading);
        text.push('\n');
        for child in ROOT.children.iter().filter(|c| c.section == section && !c.hidden) {
            text.push_str(&command_line(child));
        }
        text.push('\n');
    }
    text
}

fn command_line(command: &Command) -> String {
    format!("  {:NAME_WIDTH$} {}\n", command.name, command.short)
}

/// One flag as help shows it.
struct Line {
    long: &'static str,
    head: String,
    usage: String,
}

impl Line {
    fn of(flag: &Flag) -> Self {
        let mut head = match flag.short {
            Some(letter) => format!("  -{letter}, --{}", flag.long),
            None => format!("      --{}", flag.long),
        };
        if !flag.kind.value_name().is_empty() {
            head.push(' ');
            head.push_str(flag.kind.value_name());
        }
        Line { long: flag.long, head, usage: format!("{}{}", flag.usage, shown_default(flag)) }
    }

    fn help(command: &Command) -> Self {
        let usage = format!("help for {}", command.name);
        Line { long: "help", head: "  -h, --help".to_owned(), usage }
    }
}

/// The default in parentheses, unless it is the empty value of its kind.
fn shown_default(flag: &Flag) -> String {
    match (flag.kind, flag.default) {
        (Kind::Bool, "false") | (Kind::Int | Kind::Uint, "0") | (Kind::Text, "") => String::new(),
        (Kind::Text, default) => format!(" (default \"{default}\")"),
        (Kind::List, default) => format!(" (default [{default}])"),
        (_, default) => format!(" (default {default})"),
    }
}

fn own_flags(command: &Command) -> impl Iterator<Item = Line> {
    let mut lines: Vec<Line> = command.flags.iter().filter(|f| !f.hidden).map(Line::of).collect();
    lines.extend(command.shared_flags.iter().filter(|flag| !is_global(flag)).map(Line::of));
    lines.push(Line::help(command));
    lines.sort_by_key(|line| line.long);
    lines.into_iter()
}

fn flag_lines(lines: impl Iterator<Item = Line>) -> String {
    let lines: Vec<Line> = lines.collect();
    let width = lines.iter().map(|line| line.head.len()).max().unwrap_or(0);
    lines.iter().map(|line| format!("{:width$}   {}\n", line.head, line.usage)).collect()
}

fn is_global(flag: &Flag) -> bool {
    GLOBAL_FLAGS.iter().any(|global| global.long == flag.long)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::find::find;

    fn help_of(line: &str) -> String {
        let words: Vec<_> = line.split_whitespace().map(Into::into).collect();
        help(&find(&words).unwrap_or_else(|unknown| panic!("{unknown:?}")).path)
    }

    #[test]
    fn the_root_lists_its_commands_under_five_headings() {
        assert_eq!(help_of(""), include_str!("../../tests/golden/help-root.txt"));
    }

    #[test]
    fn a_group_lists_its_commands() {
        let text = "Membership related commands\n\nUsage:\n  etcdctl member [command]\n\n\
            Available Commands:\n  \
            add         Adds a member into the cluster\n  \
            list        Lists all members in the cluster\n  \
            promote     Promotes a non-voting member in the cluster\n  \
            remove      Removes a member from the cluster\n  \
            update      Updates a member in the cluster\n\n\
            Flags:\n  -h, --help   help for member\n\n\
            Use \"etcdctl member [command] --help\" for more information about a command.\n\
            Use \"etcdctl options\" for a list of global command-line options \
            (applies to all commands).\n";
        assert_eq!(help_of("member"), text);
    }

    #[test]
    fn a_command_shows_its_usage_line_and_its_flags_by_name() {
        let text = "Get lease information\n\nUsage:\n  \
            etcdctl lease timetolive <leaseID> [options] [flags]\n\n\
            Flags:\n  -h, --help   help for timetolive\n      \
            --keys   Get keys attached to this lease\n\
            Use \"etcdctl options\" for a list of global command-line options \
            (applies to all commands).\n";
        assert_eq!(help_of("lease timetolive"), text);
    }

    #[test]
    fn options_lists_the_global_flags_in_one_column() {
        let text = options();
        assert!(text.starts_with("The following options can be passed to any command:\n\n"));
        let column = "  -w, --write-out string             set the output format \
                      (fields, json, protobuf, simple, table) (default \"simple\")\n";
        assert!(text.ends_with(column), "{text}");
        assert!(text.contains("gRPC endpoints (default [127.0.0.1:2379])\n"), "{text}");
        assert!(text.contains("client connections (default true)\n"), "{text}");
        assert_eq!(text.lines().count(), 2 + 21);
    }
}
