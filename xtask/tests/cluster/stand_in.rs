//! A stand-in for the gateway: the same command line, health routes, and a page with the name of the instance.
//! `STAND_IN_FAILS=gw-2` makes that instance exit at once.

use std::{
    env,
    error::Error,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use signal_hook::{consts::SIGTERM, iterator::Signals};

/// Long enough for the balancer to notice that the instance is not ready.
const DRAIN_TIME: Duration = Duration::from_millis(1200);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let value = |flag: &str| args.iter().position(|arg| arg == flag).and_then(|at| args.get(at + 1)).cloned();
    let required = |flag: &'static str| value(flag).ok_or(flag);
    let (instance, listen, admin) = (required("--instance")?, required("--listen")?, required("--admin-listen")?);
    let secret = fs::metadata(required("--secret-file")?)?.len();
    let redis = required("--redis")?;
    let (plain, with_tls) =
        (["redis", "redis-sentinel", "redis-cluster"], ["rediss", "rediss-sentinel", "rediss-cluster"]);
    let scheme = redis.split("://").next().unwrap_or_default();
    let ca = value("--redis-ca").is_some_and(|file| fs::read_to_string(file).is_ok_and(|pem| pem.contains("BEGIN")));
    let right = (plain.contains(&scheme) && !ca) || (with_tls.contains(&scheme) && ca);
    if args.first().is_none_or(|first| first != "serve") || secret < 64 || !right {
        eprintln!("wrong usage: {args:?}");
        return Ok(ExitCode::from(2));
    }
    if env::var("STAND_IN_FAILS").is_ok_and(|name| name == instance) {
        eprintln!("failing on request");
        return Ok(ExitCode::from(3));
    }
    let mut signals = Signals::new([SIGTERM])?;
    let draining = Arc::new(AtomicBool::new(false));
    let listeners = [TcpListener::bind(&listen)?, TcpListener::bind(&admin)?];
    for listener in listeners {
        let (instance, draining) = (instance.clone(), Arc::clone(&draining));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (instance, draining) = (instance.clone(), Arc::clone(&draining));
                thread::spawn(move || serve(stream, &instance, draining.load(Ordering::SeqCst)));
            }
        });
    }
    println!("listening on http://{listen}");
    eprintln!("{instance} has started");
    signals.wait();
    eprintln!("{instance} drains");
    draining.store(true, Ordering::SeqCst);
    thread::sleep(DRAIN_TIME);
    Ok(ExitCode::SUCCESS)
}

fn serve(stream: TcpStream, instance: &str, draining: bool) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if !matches!(stream.read_line(&mut head), Ok(1..)) {
            return;
        }
    }
    let refuse = draining && head.starts_with("GET /readyz ");
    let status = if refuse { "503 Service Unavailable" } else { "200 OK" };
    let length = instance.len();
    let _ = write!(
        stream.get_mut(),
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{instance}"
    );
}
