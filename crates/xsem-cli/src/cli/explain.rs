//! The options of `xsem explain` and `xsem codes`.

use clap::{Args, ValueEnum};

pub(super) const ABOUT: &str = "\
Prints the page of an error code: what it means here, its causes, how to find out which one it is, and what to do about it. On a \
terminal a long page goes through a pager: XSEM_PAGER, else PAGER, else less.

Where the words fit several codes, these are listed. Of codes that other systems have and this one does not, it says what this one \
says instead.";

const AFTER: &str = "\
A code is written as:
  101, 0x65                      its number
  ERROR_EXCL_SEM_ALREADY_OWNED   its symbol, or a part of it: sem_is_set, SemIsSet
  0x80070065, -2147024795        its HRESULT form
  C0000046                       an NTSTATUS, also by its symbol
  already owned                  words of its symbol, message or page

Exit codes:
  0    explained, or several were listed
  1    there is no such code
  125  bad options";

/// Options of `xsem explain`.
#[derive(Debug, Args)]
#[command(after_help = AFTER, arg_required_else_help = true, allow_negative_numbers = true)]
pub struct ExplainArgs {
    /// A JSON object: the sections of the page as fields, in Markdown. Several codes are an array
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,

    /// The page as it stands in docs/errors
    #[arg(long)]
    pub markdown: bool,

    #[command(flatten)]
    pub colour: ColourArgs,

    /// Never use a pager
    #[arg(long)]
    pub no_pager: bool,

    /// The code, in any form, or words
    #[arg(required = true, value_name = "CODE")]
    pub code: Vec<String>,
}

/// Options of `xsem codes`.
#[derive(Debug, Args)]
pub struct CodesArgs {
    /// Also those of Win32, OS/2 and NT that xsem does not say, with what it says instead
    #[arg(long)]
    pub all: bool,

    /// A JSON array
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub colour: ColourArgs,

    /// Never use a pager
    #[arg(long)]
    pub no_pager: bool,
}

/// Whether to use colours.
#[derive(Clone, Copy, Debug, Args)]
pub struct ColourArgs {
    /// Colours: auto means on a terminal, if NO_COLOR does not forbid it
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = When::Auto)]
    pub color: When,
}

/// The choice of `--color`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, if NO_COLOR does not forbid it
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}
