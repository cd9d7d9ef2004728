//! The vocabulary of the command tree: what a command and a flag are.

/// A command, or a group of commands when it has children.
pub(crate) struct Command {
    /// The word that selects it.
    pub(crate) name: &'static str,
    /// What follows the path on the usage line, `[flags]` apart; unused for groups.
    pub(crate) arguments: &'static str,
    /// The line shown in the list of commands.
    pub(crate) short: &'static str,
    /// The text at the head of the help, when it says more than `short`.
    pub(crate) long: &'static str,
    /// The heading of the root's help under which it stands.
    pub(crate) section: Section,
    /// Flags of the command itself.
    pub(crate) flags: &'static [Flag],
    /// Flags that every child has too.
    pub(crate) shared_flags: &'static [Flag],
    /// Sub-commands.
    pub(crate) children: &'static [Command],
    /// Usable, but not listed and never suggested.
    pub(crate) hidden: bool,
}

/// The headings of the root's help, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    KeyValue,
    Maintenance,
    Concurrency,
    Authentication,
    Utility,
    /// Below another command: no heading.
    None,
}

impl Section {
    /// All headings, in the order of the help.
    pub(crate) const ALL: [(Section, &'static str); 5] = [
        (Section::KeyValue, "Key-value commands"),
        (Section::Maintenance, "Cluster maintenance commands"),
        (Section::Concurrency, "Concurrency commands"),
        (Section::Authentication, "Authentication commands"),
        (Section::Utility, "Utility commands"),
    ];
}

/// One flag.
#[derive(Debug)]
pub(crate) struct Flag {
    /// The name after `--`.
    pub(crate) long: &'static str,
    /// The letter after `-`.
    pub(crate) short: Option<char>,
    /// How its value is read.
    pub(crate) kind: Kind,
    /// The value when it is not given, as text.
    pub(crate) default: &'static str,
    /// What it does.
    pub(crate) usage: &'static str,
    /// Accepted, but not shown.
    pub(crate) hidden: bool,
}

/// How the value of a flag is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `--flag`, or `--flag=true` and its other spellings.
    Bool,
    /// Any text.
    Text,
    /// A signed 64-bit number.
    Int,
    /// An unsigned 64-bit number.
    Uint,
    /// A Go duration.
    Duration,
    /// Comma separated texts; giving the flag again appends.
    List,
}

impl Kind {
    /// The word shown for the value in help.
    pub(crate) fn value_name(self) -> &'static str {
        match self {
            Kind::Bool => "",
            Kind::Text => "string",
            Kind::Int => "int",
            Kind::Uint => "uint",
            Kind::Duration => "duration",
            Kind::List => "strings",
        }
    }
}

impl Command {
    /// A command without children and flags; the tree fills in the rest.
    pub(crate) const fn new(
        name: &'static str,
        arguments: &'static str,
        short: &'static str,
    ) -> Self {
        Command {
            name,
            arguments,
            short,
            long: "",
            section: Section::None,
            flags: &[],
            shared_flags: &[],
            children: &[],
            hidden: false,
        }
    }

    /// With these flags.
    pub(crate) const fn flags(mut self, flags: &'static [Flag]) -> Self {
        self.flags = flags;
        self
    }

    /// With flags that the children have too.
    pub(crate) const fn shared(mut self, flags: &'static [Flag]) -> Self {
        self.shared_flags = flags;
        self
    }

    /// With these sub-commands.
    pub(crate) const fn children(mut self, children: &'static [Command]) -> Self {
        self.children = children;
        self
    }

    /// Under this heading.
    pub(crate) const fn section(mut self, section: Section) -> Self {
        self.section = section;
        self
    }

    /// With a longer description.
    pub(crate) const fn long(mut self, long: &'static str) -> Self {
        self.long = long;
        self
    }

    /// Left out of lists and suggestions.
    pub(crate) const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }
}

/// `--name`, off unless given.
pub(crate) const fn switch(long: &'static str, usage: &'static str) -> Flag {
    Flag { long, short: None, kind: Kind::Bool, default: "false", usage, hidden: false }
}

/// `--name string`.
pub(crate) const fn text(long: &'static str, default: &'static str, usage: &'static str) -> Flag {
    Flag { long, short: None, kind: Kind::Text, default, usage, hidden: false }
}

/// `--name int`, zero unless given.
pub(crate) const fn int(long: &'static str, usage: &'static str) -> Flag {
    Flag { long, short: None, kind: Kind::Int, default: "0", usage, hidden: false }
}

impl Flag {
    /// With a one-letter form.
    pub(crate) const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    /// With this kind of value and this default.
    pub(crate) const fn kind(mut self, kind: Kind, default: &'static str) -> Self {
        self.kind = kind;
        self.default = default;
        self
    }

    /// Accepted, but left out of help.
    pub(crate) const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }
}
