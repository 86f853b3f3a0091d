//! Orders in the database.

use std::sync::{Mutex, MutexGuard};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Params, Value};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::failure::Failure;

pub const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS orders (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    customer VARCHAR(100) NOT NULL,
    item VARCHAR(100) NOT NULL,
    quantity INT UNSIGNED NOT NULL,
    cents BIGINT UNSIGNED NOT NULL
) CHARACTER SET utf8mb4";

const COLUMNS: &str = "id, customer, item, quantity, cents";

/// What a client sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    customer: String,
    item: String,
    quantity: u32,
    /// The price of all items together.
    cents: u64,
}

#[derive(Serialize)]
pub struct Order {
    id: u64,
    customer: String,
    item: String,
    quantity: u32,
    cents: u64,
}

type Row = (u64, String, String, u32, u64);

fn order((id, customer, item, quantity, cents): Row) -> Order {
    Order { id, customer, item, quantity, cents }
}

impl NewOrder {
    pub fn check(&self) -> Result<(), Failure> {
        for (name, text) in [("customer", &self.customer), ("item", &self.item)] {
            // The column counts characters, not bytes.
            if text.is_empty() || text.chars().count() > 100 {
                return Err(Failure::Request(format!("{name} must have 1 to 100 characters")));
            }
        }
        if self.quantity == 0 {
            return Err(Failure::Request("quantity must be at least 1".to_string()));
        }
        Ok(())
    }

    fn values(self) -> [Value; 4] {
        [self.customer.into(), self.item.into(), self.quantity.into(), self.cents.into()]
    }
}

/// The most connections to the database.
const MOST_CONNECTIONS: usize = 16;

/// The table, behind connections that are kept. mysql_async's own pool loses a
/// wake-up when a task that waits for a connection is polled for another reason,
/// as hyper does; then a request waits for ever.
pub struct Store {
    opts: Opts,
    idle: Mutex<Vec<Conn>>,
    permits: Semaphore,
}

impl Store {
    pub fn new(url: &str) -> Result<Store, String> {
        let opts = Opts::from_url(url).map_err(|e| format!("DATABASE_URL: {e}"))?;
        // An update that changes nothing has still found its order.
        let opts = OptsBuilder::from_opts(opts).client_found_rows(true).into();
        Ok(Store { opts, idle: Mutex::default(), permits: Semaphore::new(MOST_CONNECTIONS) })
    }

    /// Lets the operation have a connection. One that was idle while the database
    /// restarted fails it, once; the others are then thrown away too.
    async fn with<T, F>(&self, operation: F) -> Result<T, Failure>
    where
        F: AsyncFnOnce(&mut Conn) -> Result<T, mysql_async::Error>,
    {
        let _permit = self.permits.acquire().await.expect("it is never closed");
        let kept = self.idle().pop();
        let mut conn = match kept {
            Some(conn) => conn,
            None => Conn::new(self.opts.clone()).await?,
        };
        // When the client goes away this future is dropped, and the connection, in
        // the middle of an exchange, with it.
        let result = operation(&mut conn).await;
        match &result {
            Ok(_) | Err(mysql_async::Error::Server(_)) => self.idle().push(conn),
            Err(_) => self.idle().clear(),
        }
        Ok(result?)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Conn>> {
        self.idle.lock().expect("nobody panics with it")
    }

    /// Makes the table anew, without an order.
    pub async fn initialise(&self) -> Result<(), Failure> {
        self.with(async |conn| {
            conn.query_drop("DROP TABLE IF EXISTS orders").await?;
            conn.query_drop(CREATE_TABLE).await
        })
        .await
    }

    /// Adds all the orders or, on a failure, none.
    pub async fn add(&self, orders: Vec<NewOrder>) -> Result<Vec<Order>, Failure> {
        if orders.is_empty() {
            return Ok(Vec::new());
        }
        let rows = vec!["(?, ?, ?, ?)"; orders.len()].join(", ");
        let statement = format!(
            "INSERT INTO orders (customer, item, quantity, cents) VALUES {rows} RETURNING {COLUMNS}"
        );
        let values = orders.into_iter().flat_map(NewOrder::values).collect();
        self.with(async |conn| conn.exec_map(statement, Params::Positional(values), order).await)
            .await
    }

    pub async fn list(&self) -> Result<Vec<Order>, Failure> {
        let statement = format!("SELECT {COLUMNS} FROM orders ORDER BY id");
        self.with(async |conn| conn.exec_map(statement, (), order).await).await
    }

    pub async fn get(&self, id: u64) -> Result<Order, Failure> {
        let statement = format!("SELECT {COLUMNS} FROM orders WHERE id = ?");
        let row: Option<Row> =
            self.with(async |conn| conn.exec_first(statement, (id,)).await).await?;
        row.map(order).ok_or(Failure::NotFound)
    }

    pub async fn replace(&self, id: u64, new: NewOrder) -> Result<Order, Failure> {
        let statement =
            "UPDATE orders SET customer = ?, item = ?, quantity = ?, cents = ? WHERE id = ?";
        let mut values = Vec::from(new.values());
        values.push(id.into());
        self.change(statement, Params::Positional(values)).await?;
        self.get(id).await
    }

    pub async fn delete(&self, id: u64) -> Result<(), Failure> {
        self.change("DELETE FROM orders WHERE id = ?", (id,).into()).await
    }

    /// Executes a statement that must find an order.
    async fn change(&self, statement: &str, values: Params) -> Result<(), Failure> {
        let found = self
            .with(async |conn| {
                conn.exec_drop(statement, values).await?;
                Ok(conn.affected_rows())
            })
            .await?;
        match found {
            0 => Err(Failure::NotFound),
            _ => Ok(()),
        }
    }
}
