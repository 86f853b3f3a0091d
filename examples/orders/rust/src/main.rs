//! An order service: HTTP in front of a MySQL database, with calls to other
//! services, as one finds it in a cluster. It runs as a Wasm module, on sockets
//! that the host provides.
//!
//!     orders-rust serve      the service
//!     orders-rust migrate    create the table if there is none and end; for an
//!                            init container
//!
//! ../README.md shows how to build, run and use it.

mod config;
mod failure;
mod migrate;
mod routes;
mod shipping;
mod store;
mod tls;

use std::convert::Infallible;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::Http;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use config::Config;
use routes::Service;

fn main() -> ExitCode {
    let verb = std::env::args().nth(1).unwrap_or_default();
    let result = Config::from_env().and_then(|config| match verb.as_str() {
        "serve" => serve(config),
        "migrate" => migrate::run(&config),
        _ => Err(format!("unknown command {verb:?}: say serve or migrate")),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("orders: {why}");
            ExitCode::FAILURE
        }
    }
}

// A Wasm module has one thread, so nothing here needs to be Send.
fn serve(config: Config) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("start the runtime: {e}"))?;
    LocalSet::new().block_on(&runtime, accept(config))
}

async fn accept(config: Config) -> Result<(), String> {
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|e| format!("listen on {}: {e}", config.listen))?;
    println!("orders: listening on {}", config.listen);
    let service = Rc::new(Service::new(config)?);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::task::spawn_local(connection(service.clone(), stream));
            }
            // Most likely there are too many open descriptors: one that is closed
            // makes room, and trying at once would only burn the CPU.
            Err(e) => {
                eprintln!("orders: accept: {e}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(service: Rc<Service>, stream: TcpStream) {
    let answer = service_fn(|request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    // A client that closes its sending side has asked all it wants, and still
    // reads: half_close lets the answer out. Errors here are those of a client
    // that went away.
    let _ = Http::new()
        .with_executor(Local)
        .http1_only(true)
        .http1_half_close(true)
        .http1_header_read_timeout(Duration::from_secs(30))
        .serve_connection(stream, answer)
        .await;
}

/// Runs hyper's tasks where they are made.
#[derive(Clone)]
pub struct Local;

impl<F: std::future::Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}
