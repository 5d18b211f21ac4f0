//! Ports as pairs of channels: of the port that is named first, channel 0 carries its bytes and channel 1 its errors, of
//! the next one 2 and 3. On each the server first sends the port's number, in two bytes, the lower first.

use axum::extract::ws::{Message, WebSocket};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::super::params::Params;
use super::super::sessions::message;
use super::super::status::Status;
use super::Target;
use crate::handle::Frame;

/// How many ports one request may name, so that a channel's number fits into a byte.
const MAX_PORTS: usize = 64;
/// How many messages wait for the client before the pod waits.
const WAITING: usize = 16;

/// Reads which ports are wanted.
///
/// # Errors
/// 400 if none is named, or something else than a port.
pub fn ports(params: &Params) -> Result<Vec<u16>, Status> {
    let named: Vec<&str> = params.all("ports").flat_map(|list| list.split(',')).filter(|p| !p.is_empty()).collect();
    if named.is_empty() || named.len() > MAX_PORTS {
        return Err(Status::bad_request(format!(
            "between 1 and {MAX_PORTS} ports are required in the query (ports=80)"
        )));
    }
    let read = |text: &str| text.parse().ok().filter(|port| *port != 0);
    let bad = |text: &str| Status::bad_request(format!("unable to parse {text:?} as a port"));
    named.into_iter().map(|text| read(text).ok_or_else(|| bad(text))).collect()
}

/// Serves until the client has gone or all ports have ended.
pub async fn serve(socket: WebSocket, target: &Target, ports: Vec<u16>) {
    let (mut sink, mut stream) = socket.split();
    let (out, mut messages) = mpsc::channel(WAITING);
    let (mut inputs, mut tasks) = (Vec::new(), JoinSet::new());
    for (at, port) in (0_u8..).step_by(2).zip(ports) {
        let number = port.to_le_bytes();
        let head = [message(at, &number), message(at + 1, &number)];
        let (say, told) = mpsc::channel(WAITING);
        inputs.push(say);
        tasks.spawn(carry(target.clone(), port, (at, head), told, out.clone()));
    }
    drop(out);
    let listening = async {
        while let Some(Ok(message)) = stream.next().await {
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => text.into(),
                Message::Close(_) => return,
                Message::Ping(_) | Message::Pong(_) => continue,
            };
            // Errors go one way only.
            let Some(channel) = bytes.first().filter(|channel| *channel % 2 == 0) else { continue };
            if let Some(say) = inputs.get(usize::from(channel / 2)) {
                let _ = say.send(Frame::Input(bytes.slice(1..))).await;
            }
        }
    };
    let telling = async {
        while let Some(message) = messages.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let _ = sink.close().await;
    };
    tokio::select! {
        () = listening => {}
        () = telling => {}
    }
}

/// Carries one port's bytes.
async fn carry(
    target: Target,
    port: u16,
    (channel, head): (u8, [Message; 2]),
    told: mpsc::Receiver<Frame>,
    out: mpsc::Sender<Message>,
) {
    for first in head {
        let _ = out.send(first).await;
    }
    if let Err(why) = target.carry(port, told, &out, |bytes| message(channel, bytes)).await {
        let _ = out.send(message(channel + 1, why.as_bytes())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_named_one_by_one_or_in_a_list() {
        let read = |query: &str| ports(&Params::parse(query)).map_err(|status| status.message);
        assert_eq!(read("ports=80&ports=443"), Ok(vec![80, 443]));
        assert_eq!(read("ports=80,443"), Ok(vec![80, 443]));
        assert!(read("").is_err());
        assert_eq!(read("ports=http").unwrap_err(), "unable to parse \"http\" as a port");
        assert!(read("ports=0").is_err() && read("ports=65536").is_err());
    }
}
