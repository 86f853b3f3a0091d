//! A guest that uses the sockets of `wasmedge_wasi_socket` as the crate's own
//! examples do: one thing per verb (the first argument), with a peer outside. It
//! is compiled with two versions of the crate, which import different generations
//! of the host's functions.
use std::env;
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::exit;
use std::time::{Duration, SystemTime};

use wasmedge_wasi_socket::poll::{poll, EventType, Subscription};
use wasmedge_wasi_socket::socket::Socket;
use wasmedge_wasi_socket::{nslookup, Shutdown, TcpListener, TcpStream, UdpSocket};

fn main() {
    let args: Vec<String> = env::args().collect();
    let verb = args.get(1).map_or("", String::as_str);
    let on = args.get(2).map_or("", String::as_str);
    let done = match verb {
        "connect" => connect(on),
        "serve" => serve(on),
        "serve-by-events" => serve_by_events(on),
        "send-to" => send_to(on),
        "answer" => answer(on),
        "resolve" => resolve(on),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no verb {verb:?}"))),
    };
    if let Err(e) = done {
        say(format_args!("failed: {:?}", e.kind()));
        eprintln!("{e}");
        exit(1);
    }
}

/// Tells the peer's test, which may wait for it, how far this is.
fn say(what: impl Display) {
    println!("{what}");
    io::stdout().flush().expect("stdout");
}

/// Sends a line, says that no more comes, and reads to the end.
fn connect(to: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(to)?;
    socket(&stream).take_error()?;
    say(format_args!("peer {}", stream.peer_addr()?));
    say(format_args!("local {}", stream.local_addr()?));
    stream.write_all(b"from the guest\n")?;
    stream.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    say(format_args!("received {text:?}"));
    Ok(())
}

/// Answers what two connections send, one after the other, until they end.
fn serve(at: &str) -> io::Result<()> {
    let listener = TcpListener::bind(at, false)?;
    say(format_args!("listening {}", local(&listener)?));
    for stream in listener.incoming().take(2) {
        let stream = stream?;
        say(format_args!("accepted {}", stream.peer_addr()?));
        io::copy(&mut &stream, &mut &stream)?;
    }
    Ok(())
}

/// The same for one connection, with nothing that blocks but poll.
fn serve_by_events(at: &str) -> io::Result<()> {
    let listener = TcpListener::bind(at, true)?;
    if listener.accept(true).err().map(|e| e.kind()) != Some(io::ErrorKind::WouldBlock) {
        return Err(io::Error::other("a connection before anybody came"));
    }
    say(format_args!("listening {}", local(&listener)?));
    wait(&listener, "a connection")?;
    let (mut stream, peer) = listener.accept(true)?;
    say(format_args!("accepted {peer}"));
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => stream.write_all(&buffer[..n])?,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => wait(&stream, "data")?,
            Err(e) => return Err(e),
        }
    }
}

/// Waits until there is something to read, and fails after a while.
fn wait<F: AsRawFd>(on: &F, what: &str) -> io::Result<()> {
    let deadline = SystemTime::now() + Duration::from_secs(60);
    for event in poll(&[Subscription::io(7, on, true, false, Some(deadline))])? {
        match event.event_type {
            EventType::Read if event.userdata == 7 => return Ok(()),
            EventType::Error(e) => return Err(e),
            _ => {}
        }
    }
    Err(io::Error::other(format!("waited in vain for {what}")))
}

/// Sends a datagram and prints the answer and its sender.
fn send_to(to: &str) -> io::Result<()> {
    let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any)?;
    socket.send_to(b"from the guest", to)?;
    let mut buffer = [0; 64];
    let (n, from) = socket.recv_from(&mut buffer)?;
    say(format_args!("received {:?} from {from}", String::from_utf8_lossy(&buffer[..n])));
    Ok(())
}

/// Sends one datagram back to where it came from.
fn answer(at: &str) -> io::Result<()> {
    let socket = UdpSocket::bind(at)?;
    say(format_args!("listening {}", local(&socket)?));
    let mut buffer = [0; 64];
    let (n, from) = socket.recv_from(&mut buffer)?;
    say(format_args!("received {:?} from {from}", String::from_utf8_lossy(&buffer[..n])));
    socket.send_to(&buffer[..n], from)?;
    Ok(())
}

fn resolve(name: &str) -> io::Result<()> {
    for address in nslookup(name, "http")? {
        say(address.ip());
    }
    Ok(())
}

/// The true address of what was bound to port 0: the crate's own fields keep 0.
fn local(bound: &impl AsRawFd) -> io::Result<SocketAddr> {
    socket(bound).get_local()
}

/// What version 0.4 has no other way to.
fn socket(of: &impl AsRawFd) -> ManuallyDrop<Socket> {
    // SAFETY: the descriptor stays open, because the result is never dropped.
    ManuallyDrop::new(unsafe { Socket::from_raw_fd(of.as_raw_fd()) })
}
