//! A table that checks tokens.

use postgres::{Client, Error};

// docs/etcd.md shows these, word for word.
/// The row knows the greatest token that has written it.
pub const MAKE: &str = "CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL, token bigint NOT NULL DEFAULT 0)";
/// No row: the claim is lost, and the caller stops.
pub const WRITE: &str = "UPDATE accounts SET balance = $1, token = $2 WHERE id = 7 AND token <= $2";

/// Whether the claim was still good.
pub fn write(client: &mut Client, token: u64, balance: i64) -> Result<bool, Error> {
    // A token is far from 2^63: it counts the store's changes.
    let token = i64::try_from(token).unwrap_or(i64::MAX);
    Ok(client.execute(WRITE, &[&balance, &token])? == 1)
}
