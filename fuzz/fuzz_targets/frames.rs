//! What arrives from clients on a socket, and at gateways and control from the broker: read, written and read again it is the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{
    ClientFrame, EventMessage,
    event::GatewayMessage,
    frame::Incoming,
    task::{ControlReply, ControlRequest, ExecutorNotice, from_bytes, to_bytes},
};

fn stays<T>(bytes: &[u8])
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug + Clone,
{
    if let Ok(read) = from_bytes::<T>(bytes) {
        assert_eq!(from_bytes::<T>(&to_bytes(read.clone())).expect("what was written is read"), read);
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(frame) = serde_json::from_str::<ClientFrame>(text) {
            let again = serde_json::to_string(&frame).expect("a frame can be written");
            assert_eq!(serde_json::from_str::<ClientFrame>(&again).expect("what was written is read"), frame);
        }
        // The browser's side.
        let _ = serde_json::from_str::<Incoming>(text);
    }
    if let Ok(GatewayMessage::Event(event)) = GatewayMessage::decode(bytes) {
        let again = EventMessage::decode(&event.encode()).expect("what was written is read");
        assert_eq!((again.topic, again.position(), again.event.get()), (event.topic, event.position(), event.event.get()));
        let _ = event.parse();
        let _ = event.is_log();
    }
    stays::<ControlRequest>(bytes);
    stays::<ControlReply>(bytes);
    stays::<ExecutorNotice>(bytes);
});
