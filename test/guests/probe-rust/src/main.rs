//! A guest with one behaviour per verb, for what Rust's standard library does
//! differently from C's: seeded hash maps, panics, buffered stdout.

use std::collections::HashMap;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::FromRawFd;
use std::{env, fs, process, thread, time};

fn main() {
    let args: Vec<String> = env::args().collect();
    let verb = args.get(1).map_or("hello", String::as_str);
    let one = args.get(2).map_or("", String::as_str);
    if let Err(err) = run(&args, verb, one) {
        eprintln!("{one}: {err}");
        process::exit(1);
    }
}

fn run(args: &[String], verb: &str, one: &str) -> io::Result<()> {
    match verb {
        "hello" => println!("hello from probe-rust"),
        "args" => println!("{}", args.join(" ")),
        "env" => env::vars().for_each(|(k, v)| println!("{k}={v}")),
        "exit" => process::exit(one.parse().unwrap_or(2)),
        "cat" => {
            let mut all = Vec::new();
            io::stdin().read_to_end(&mut all)?;
            io::stdout().write_all(&all)?;
        }
        "read" => print!("{}", fs::read_to_string(one)?),
        "put" => fs::write(one, args.get(3).map_or("", String::as_str))?,
        "random" => {
            // The map's seed comes from random_get.
            let map: HashMap<i32, i32> = (0..100).map(|i| (i, i * i)).collect();
            println!("{}", map.values().sum::<i32>());
        }
        "sleep" => {
            let began = time::Instant::now();
            thread::sleep(time::Duration::from_millis(200));
            println!("slept {}", began.elapsed() >= time::Duration::from_millis(200));
        }
        "drain" => {
            let fd: i32 = env::var("WASI_SIGNAL_FD").unwrap_or_default().parse().unwrap_or(-1);
            // The runtime opened it for this program alone.
            let signals = unsafe { fs::File::from_raw_fd(fd) };
            println!("waiting");
            let mut line = String::new();
            io::BufReader::new(signals).read_line(&mut line)?;
            println!("drains on {}", line.trim());
        }
        "panic" => panic!("probe-rust panics"),
        _ => {
            eprintln!("probe-rust: no verb {verb}");
            process::exit(2);
        }
    }
    Ok(())
}
