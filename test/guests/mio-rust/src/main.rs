//! Answers what it gets, on the port that is its argument.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async { tokio::spawn(serve(port)).await? })
}

async fn serve(port: String) -> std::io::Result<()> {
    let listener = TcpListener::bind(format!("127.0.0.1:{port}").parse::<std::net::SocketAddr>().unwrap()).await?;
    println!("listening");
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..n]).await.is_err() {
                    return;
                }
            }
        });
    }
}
