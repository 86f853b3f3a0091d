//! Orders in the database.

use mysql_async::prelude::{Query, Queryable, WithParams};
use mysql_async::{Conn, Opts, OptsBuilder, Params, Pool, PoolConstraints, PoolOpts, Value};
use serde::{Deserialize, Serialize};

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

/// The table, behind a pool of connections. A connection that broke is found out
/// when it is taken from the pool, so a restarted database needs no restart of the
/// service.
pub struct Store {
    pool: Pool,
}

impl Store {
    pub fn new(url: &str) -> Result<Store, String> {
        let opts = Opts::from_url(url).map_err(|e| format!("DATABASE_URL: {e}"))?;
        let pool = PoolOpts::default()
            .with_constraints(PoolConstraints::new(2, 16).expect("2 is not above 16"));
        // An update that changes nothing has still found its order.
        let opts = OptsBuilder::from_opts(opts).client_found_rows(true).pool_opts(pool);
        Ok(Store { pool: Pool::new(opts) })
    }

    async fn conn(&self) -> Result<Conn, Failure> {
        Ok(self.pool.get_conn().await?)
    }

    /// Makes the table anew, without an order.
    pub async fn initialise(&self) -> Result<(), Failure> {
        let mut conn = self.conn().await?;
        conn.query_drop("DROP TABLE IF EXISTS orders").await?;
        conn.query_drop(CREATE_TABLE).await?;
        Ok(())
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
        let mut conn = self.conn().await?;
        Ok(conn.exec_map(statement, Params::Positional(values), order).await?)
    }

    pub async fn list(&self) -> Result<Vec<Order>, Failure> {
        let mut conn = self.conn().await?;
        Ok(format!("SELECT {COLUMNS} FROM orders ORDER BY id").with(()).map(&mut conn, order).await?)
    }

    pub async fn get(&self, id: u64) -> Result<Order, Failure> {
        let mut conn = self.conn().await?;
        let statement = format!("SELECT {COLUMNS} FROM orders WHERE id = ?");
        let row: Option<Row> = conn.exec_first(statement, (id,)).await?;
        row.map(order).ok_or(Failure::NotFound)
    }

    pub async fn replace(&self, id: u64, new: NewOrder) -> Result<Order, Failure> {
        let mut conn = self.conn().await?;
        let mut values = Vec::from(new.values());
        values.push(id.into());
        conn.exec_drop(
            "UPDATE orders SET customer = ?, item = ?, quantity = ?, cents = ? WHERE id = ?",
            Params::Positional(values),
        )
        .await?;
        found(&conn)?;
        drop(conn);
        self.get(id).await
    }

    pub async fn delete(&self, id: u64) -> Result<(), Failure> {
        let mut conn = self.conn().await?;
        conn.exec_drop("DELETE FROM orders WHERE id = ?", (id,)).await?;
        found(&conn)
    }
}

fn found(conn: &Conn) -> Result<(), Failure> {
    match conn.affected_rows() {
        0 => Err(Failure::NotFound),
        _ => Ok(()),
    }
}
