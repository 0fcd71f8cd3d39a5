//! `xsem create NAME`.

use crate::cli::{CreateArgs, ResetArg};
use crate::exit_codes;
use crate::failure::Failure;
use crate::run::command_line::quoted;
use xsem::{Code, Counting, Error, Event, Exclusive, Namespace, Options};

/// A new semaphore; 183 where the name exists.
pub fn create(args: &CreateArgs, url: &str) -> Result<u8, Failure> {
    let ns = Namespace::open(url)?;
    let name = args.name.as_str();
    let made = match (args.pool, args.credit, args.event) {
        (Some(limit), ..) => Counting::create_pool(&ns, name, limit, Options::new()).map(drop),
        (None, Some(limit), _) => Counting::create_credit(&ns, name, limit, args.initial, Options::new()).map(drop),
        (None, None, Some(how)) => event(&ns, name, how, args.signalled),
        (None, None, None) => Exclusive::create(&ns, name).map(drop),
    };
    match made {
        Err(e) if e.code() == Code::AlreadyExists => Err(Error::new(e.code(), e.message())
            .of(name)
            .advice(format!(
                "nothing was changed: {}, `xsem show {}` says what it is",
                match args.event {
                    Some(_) => "`xsem event` uses it as it is, if it is an event",
                    None => "`xsem run` and `xsem hold` use it as it is",
                },
                quoted(name)
            ))
            .into()),
        other => Ok(other.map(|()| exit_codes::OK)?),
    }
}

fn event(ns: &Namespace, name: &str, how: ResetArg, signalled: bool) -> xsem::Result<()> {
    let options = if signalled { Options::new().signalled() } else { Options::new() };
    match how {
        ResetArg::Manual => Event::create_manual(ns, name, options).map(drop),
        ResetArg::Auto => Event::create_auto(ns, name, options).map(drop),
    }
}
