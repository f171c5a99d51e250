//! A hub with one model, on this machine: what of the real one's addresses and headers a download
//! needs, and its failures.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, spawn};

use serde_json::json;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const NAME: &str = "someone/tiny-bart";

/// What the hub has, and how it fails.
#[derive(Default)]
pub struct Site {
    pub files: BTreeMap<String, Vec<u8>>,
    /// Files kept elsewhere, which the hub redirects to, as it does for large ones.
    pub large: Vec<String>,
    /// Status and error code of every answer.
    pub refusal: Option<(u16, &'static str)>,
    /// The token that files are given for.
    pub token: Option<&'static str>,
    /// Bytes of this file that come before the connection breaks.
    pub cut: Option<(&'static str, usize)>,
    /// Whether the list tells of one byte more than files have.
    pub wrong_sizes: bool,
    /// Requests so far, as `GET /path range`.
    pub requests: Vec<String>,
}

pub struct Server {
    pub site: Arc<Mutex<Site>>,
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn of_folder(folder: &Path) -> Self {
        let files = fs::read_dir(folder).unwrap().map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        });
        Self::new(files.collect())
    }

    pub fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        let is_large = |name: &&String| name.ends_with(".safetensors") || name.ends_with(".bin");
        let large = files.keys().filter(is_large).cloned().collect();
        let site = Arc::new(Mutex::new(Site { files, large, ..Site::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let thread = spawn({
            let (site, stopped) = (site.clone(), stopped.clone());
            move || {
                for stream in listener.incoming() {
                    if stopped.load(Ordering::SeqCst) {
                        break;
                    }
                    answer(stream.unwrap(), &mut site.lock().unwrap(), address);
                }
            }
        });
        Self { site, address, stopped, thread: Some(thread) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The files whose content was asked for since the last call.
    pub fn downloads(&self) -> Vec<String> {
        let requests = std::mem::take(&mut self.site.lock().unwrap().requests);
        let content = |request: &String| {
            let (path, range) = request.rsplit_once(' ').unwrap();
            (path.starts_with("/cdn/") || path.contains("/resolve/")) && range != "bytes=0-0"
        };
        let mut files: Vec<String> = requests
            .iter()
            .filter(|request| content(request))
            .map(|request| request.split(' ').next().unwrap().rsplit('/').next().unwrap().into())
            .collect();
        files.sort();
        files.dedup();
        files
    }

    pub fn requests(&self) -> usize {
        self.site.lock().unwrap().requests.len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Request {
    path: String,
    range: Option<String>,
    token: Option<String>,
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_string();
    let mut request = Request { path, range: None, token: None };
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ")?;
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.to_string()),
            "authorization" => request.token = value.strip_prefix("Bearer ").map(str::to_string),
            _ => {}
        }
    }
    Some(request)
}

fn answer(mut stream: TcpStream, site: &mut Site, address: SocketAddr) {
    let Some(request) = read(&stream) else { return };
    let range = request.range.as_deref().unwrap_or("-");
    site.requests.push(format!("{} {range}", request.path));
    if let Some((status, code)) = site.refusal {
        let headers = [("X-Error-Code", code.to_string())];
        return respond(&mut stream, status, &headers, b"{\"error\":\"..\"}", None);
    }
    let listing = format!("/api/models/{NAME}/revision/main?blobs=true");
    let files = format!("/{NAME}/resolve/{COMMIT}/");
    if request.path == listing {
        respond(&mut stream, 200, &[], &list(site), None);
    } else if let Some(file) = request.path.strip_prefix(&files) {
        if site.token.is_some() && request.token.as_deref() != site.token {
            return respond(&mut stream, 401, &[], b"", None);
        }
        let hash = hash(&site.files[file]);
        let commit = ("X-Repo-Commit", COMMIT.to_string());
        if site.large.iter().any(|large| large == file) {
            let elsewhere = ("Location", format!("http://{address}/cdn/{file}"));
            let headers = [commit, elsewhere, ("X-Linked-ETag", format!("\"{hash}\""))];
            respond(&mut stream, 302, &headers, b"", None);
        } else {
            send(&mut stream, site, file, &request, &[commit, ("ETag", format!("\"{hash}\""))]);
        }
    } else if let Some(file) = request.path.strip_prefix("/cdn/") {
        send(&mut stream, site, file, &request, &[]);
    } else {
        respond(&mut stream, 404, &[("X-Error-Code", "RepoNotFound".to_string())], b"", None);
    }
}

fn list(site: &Site) -> Vec<u8> {
    let siblings: Vec<_> = site
        .files
        .iter()
        .map(|(name, content)| {
            let size = content.len() + usize::from(site.wrong_sizes);
            json!({ "rfilename": name, "size": size, "blobId": hash(content) })
        })
        .collect();
    json!({ "id": NAME, "sha": COMMIT, "siblings": siblings }).to_string().into_bytes()
}

fn hash(content: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{:040x}", hasher.finish())
}

fn send(
    stream: &mut TcpStream,
    site: &Site,
    file: &str,
    request: &Request,
    headers: &[(&str, String)],
) {
    let content = &site.files[file];
    let range = request.range.as_deref().and_then(|range| range.strip_prefix("bytes="));
    let (from, to) = range.and_then(|range| range.split_once('-')).expect("a range");
    let from: usize = from.parse().unwrap();
    let to = to.parse().unwrap_or(content.len() - 1);
    let whole = from == 0 && to + 1 == content.len();
    let cut = site.cut.filter(|(cut, _)| *cut == file && (whole || to > from)).map(|(_, at)| at);
    let mut headers = headers.to_vec();
    headers.push(("Content-Range", format!("bytes {from}-{to}/{}", content.len())));
    respond(stream, 206, &headers, &content[from..=to], cut);
}

/// Sends `body`, or only its first `cut` bytes under a header that promises all.
fn respond(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&str, String)],
    body: &[u8],
    cut: Option<usize>,
) {
    let mut head = format!("HTTP/1.1 {status} -\r\nConnection: close\r\n");
    head += &format!("Content-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    let sent = cut.map_or(body, |cut| &body[..cut.min(body.len())]);
    // Who asked may have gone away.
    let _ =
        stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(sent));
}
