//! The table, made with the synchronous client: a program that does one thing
//! after the other and ends has no use for a runtime.

use mysql::prelude::Queryable;

use crate::config::Config;
use crate::store::CREATE_TABLE;

pub fn run(config: &Config) -> Result<(), String> {
    let opts = mysql::Opts::from_url(&config.database).map_err(|e| format!("DATABASE_URL: {e}"))?;
    let mut conn = mysql::Conn::new(opts).map_err(|e| format!("connect to the database: {e}"))?;
    conn.query_drop(CREATE_TABLE)
        .map_err(|e| format!("create the table: {e}"))?;
    let orders: Option<u64> = conn
        .query_first("SELECT COUNT(*) FROM orders")
        .map_err(|e| format!("count the orders: {e}"))?;
    println!("orders: the table has {} orders", orders.unwrap_or_default());
    Ok(())
}
