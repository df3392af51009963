//! Tokens to what a stream carries: detokenizer, stop strings, the parsers of thoughts and tool calls,
//! and server-sent events. However an answer is cut into pieces, they add up to the same.

use std::sync::{Arc, OnceLock};

use candela_engine::{
    engine::StopCheck,
    model,
    prompt::{
        AnswerParser, AnswerSyntax, AnswerText, CallFormat, Message, MessageDelta, ReasoningFormat,
        ReasoningStart, StopMatcher, Tokenizer,
    },
    server::sse_event,
};

/// The demo model's own.
fn tokenizer() -> Arc<Tokenizer> {
    static TOKENIZER: OnceLock<Arc<Tokenizer>> = OnceLock::new();
    let tokenizer = TOKENIZER.get_or_init(|| {
        let files = model::open("builtin://demo").expect("the demo model is compiled in");
        let json = files.read("tokenizer.json").expect("it has a tokenizer");
        let vocab_size = model::vocab_size(&files).expect("it has a configuration");
        Arc::new(Tokenizer::from_bytes(&json, vocab_size).expect("which is good"))
    });
    Arc::clone(tokenizer)
}

/// Reads `data` as settings, stop strings up to a line break, and tokens or text.
///
/// # Panics
/// When pieces do not add up.
pub fn run(data: &[u8]) {
    let Some((&[flags, cut], rest)) = data.split_first_chunk() else {
        return;
    };
    let (stops, rest) = match rest.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        None => (&rest[..0], rest),
    };
    let stops: Vec<Arc<str>> = String::from_utf8_lossy(stops)
        .split('|')
        // Bytes that are no text become U+FFFD when an answer is over, which no stop string can stop any more.
        .filter(|stop| !stop.is_empty() && !stop.contains('\u{fffd}'))
        .take(4)
        .map(Arc::from)
        .collect();
    if flags & 1 == 0 {
        tokens(flags, &stops, rest);
    } else {
        parsed(flags, cut, &String::from_utf8_lossy(rest));
    }
}

/// Pieces of text add up to the text before the first stop string, and the engine's check and the
/// server's agree on where that is.
fn tokens(flags: u8, stops: &[Arc<str>], bytes: &[u8]) {
    let tokenizer = tokenizer();
    let count = tokenizer.token_count() as u32;
    let ids: Vec<u32> = bytes
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |id, &byte| (id << 8) | u32::from(byte)) % count)
        .collect();
    let (include, skip) = (flags & 2 != 0, flags & 4 != 0);
    let min_tokens = usize::from(flags >> 4);
    let matcher = StopMatcher::new(stops.to_vec(), include);
    let new = || AnswerText::new(Arc::clone(&tokenizer), skip, matcher.clone(), min_tokens);
    let (mut engine, mut server) = (new(), new());
    let mut text = String::new();
    let mut end = None;
    for &id in &ids {
        let found = engine.push(id);
        text += &event(server.push_token(id));
        if let Some(found) = found {
            end = Some(found.text_bytes);
            break;
        }
    }
    text += &event(server.finish());
    match end {
        Some(end) => assert_eq!(text.len(), end, "the engine and the server end alike"),
        None => assert_eq!(text, tokenizer.decode(&ids, skip), "pieces add up"),
    }
    if !include && min_tokens == 0 {
        for stop in stops {
            assert!(!text.contains(&**stop), "a stop string is in the answer");
        }
    }
}

/// The text through an event of a stream, and back.
fn event(text: String) -> String {
    let event = sse_event(&serde_json::json!({"text": text}));
    let event = std::str::from_utf8(&event).expect("an event is text");
    let json = event.strip_prefix("data: ").expect("an event has data");
    let json = json.strip_suffix("\n\n").expect("an event has an end");
    assert!(!json.contains(['\n', '\r']), "an event is one line");
    let json: serde_json::Value = serde_json::from_str(json).expect("an event is JSON");
    json["text"].as_str().expect("as it was sent").to_owned()
}

/// What a parser makes of a text does not depend on how it is cut.
fn parsed(flags: u8, cut: u8, text: &str) {
    let calls = match (flags >> 1) & 7 {
        0 => None,
        1 => Some(CallFormat::Hermes),
        2 => Some(CallFormat::Llama3Json),
        3 => Some(CallFormat::Mistral),
        4 => Some(CallFormat::List),
        _ => Some(CallFormat::Arguments("tool".to_owned())),
    };
    let start = match (flags >> 4) & 3 {
        0 => None,
        1 => Some(ReasoningStart::Undecided),
        2 => Some(ReasoningStart::Thinking),
        _ => Some(ReasoningStart::Over),
    };
    let syntax = AnswerSyntax {
        reasoning: start.map(|start| (ReasoningFormat::THINK, start)),
        hide_reasoning: flags & 64 != 0,
        calls,
        one_call: flags & 128 != 0,
        ..AnswerSyntax::default()
    };
    let whole = message(&syntax, std::iter::once(text));
    let step = usize::from(cut % 7) + 1;
    let mut ends: Vec<usize> = text
        .char_indices()
        .map(|(at, _)| at)
        .step_by(step)
        .collect();
    ends.push(text.len());
    let pieces = ends.windows(2).map(|ends| &text[ends[0]..ends[1]]);
    assert_eq!(
        message(&syntax, pieces),
        whole,
        "cut every {step} characters"
    );
}

/// Content, thoughts, and the calls' names and arguments; their ids are random.
fn message<'a>(
    syntax: &AnswerSyntax,
    pieces: impl Iterator<Item = &'a str>,
) -> (String, String, Vec<(String, String)>) {
    let mut parser = AnswerParser::new(syntax);
    let mut message = Message::default();
    let mut take = |delta: MessageDelta| message.push(delta);
    pieces.for_each(|piece| take(parser.push(piece)));
    take(parser.finish());
    let calls = message.tool_calls.into_iter();
    let calls = calls.map(|call| (call.name, call.arguments)).collect();
    (message.content, message.reasoning, calls)
}
