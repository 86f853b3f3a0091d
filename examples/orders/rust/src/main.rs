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
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::Http;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};

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

fn serve(config: Config) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("start the runtime: {e}"))?;
    // On this target nothing interrupts the runtime's wait for sockets. Tasks in
    // its queue keep it from waiting; a future given to block_on, or in a LocalSet,
    // that wakes itself does not, and would sleep until something else happens. So
    // all work is in tasks, and block_on has one that ends with them.
    let accepting = async { tokio::spawn(accept(config)).await.map_err(|e| e.to_string())? };
    runtime.block_on(accepting)
}

async fn accept(config: Config) -> Result<(), String> {
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|e| format!("listen on {}: {e}", config.listen))?;
    println!("orders: listening on {}", config.listen);
    let service = Arc::new(Service::new(config)?);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(service.clone(), stream));
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

async fn connection(service: Arc<Service>, stream: TcpStream) {
    let answer = service_fn(|request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    // A client that closes its sending side has asked all it wants, and still
    // reads: half_close lets the answer out. Errors here are those of a client
    // that went away.
    let _ = Http::new()
        .http1_only(true)
        .http1_half_close(true)
        .http1_header_read_timeout(Duration::from_secs(30))
        .serve_connection(stream, answer)
        .await;
}
