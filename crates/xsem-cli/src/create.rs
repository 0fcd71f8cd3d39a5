//! `xsem create NAME`.

use crate::cli::CreateArgs;
use crate::exit_codes;
use crate::failure::Failure;
use xsem::{Code, Counting, Error, Exclusive, Namespace, Options};

/// A new semaphore; 183 where the name exists.
pub fn create(args: &CreateArgs, url: &str) -> Result<u8, Failure> {
    let ns = Namespace::open(url)?;
    let name = args.name.as_str();
    let made = match (args.pool, args.credit) {
        (Some(limit), _) => Counting::create_pool(&ns, name, limit, Options::new()).map(drop),
        (None, Some(limit)) => Counting::create_credit(&ns, name, limit, args.initial, Options::new()).map(drop),
        (None, None) => Exclusive::create(&ns, name).map(drop),
    };
    match made {
        Err(e) if e.code() == Code::AlreadyExists => Err(Error::new(e.code(), e.message())
            .of(name)
            .advice(format!(
                "nothing was changed: `xsem run` and `xsem hold` use it as it is, `xsem show {name}` says what it is"
            ))
            .into()),
        other => Ok(other.map(|()| exit_codes::OK)?),
    }
}
