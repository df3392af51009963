//! Chat templates: any template over a chat, and any chat over templates as models have them. Before a
//! NUL is the template, or `@` and the number of one of ours; behind it the chat as JSON.

use candela_engine::prompt::{ChatInput, ChatTemplate, RENDERED_BYTES_MAX, TemplateFiles};
use serde_json::{Value, json};

/// In the ways of several families.
const TEMPLATES: [&str; 3] = [
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content | trim }}<|im_end|>\n{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "{{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %}{% if m['role'] == 'system' %}{% set ns.system = ns.system + m['content'] %}{% elif m['role'] == 'user' %}[INST] {{ ns.system + m['content'] }} [/INST]{% elif m['role'] == 'assistant' %}{{ m['content'].split('</think>')[-1].lstrip('\\n') }}{% for call in m.tool_calls or [] %}{{ call.function.arguments | tojson(indent=2) }}{% endfor %}{% else %}{{ raise_exception('unknown role ' ~ m['role']) }}{% endif %}{% endfor %}",
    "{% macro one(m) %}{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{% endmacro %}{{ strftime_now('%d %b %Y') }}{% for m in messages[::-1] %}{{ loop.index0 }}{{ one(m) | upper }}{% endfor %}{{ enable_thinking | default(false) }}",
];

/// Compiles and renders.
///
/// # Panics
/// When either does, or a text is larger than it may be.
pub fn run(data: &[u8]) {
    let end = data
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(data.len());
    let (template, chat) = data.split_at(end);
    let chat = serde_json::from_slice(chat.get(1..).unwrap_or_default());
    let chat: Value =
        chat.unwrap_or_else(|_| json!({"messages": [{"role": "user", "content": "hi"}]}));
    let template = match template {
        [b'@', number, ..] => TEMPLATES[usize::from(*number) % TEMPLATES.len()].as_bytes(),
        template => template,
    };
    let files = TemplateFiles {
        flag: Some(template.to_vec()),
        ..TemplateFiles::default()
    };
    let Ok(Some(template)) = ChatTemplate::from_files(files) else {
        return;
    };
    let list = |value: &Value| value.as_array().cloned();
    let input = ChatInput {
        messages: list(&chat["messages"]).unwrap_or_default(),
        tools: list(&chat["tools"]),
        add_generation_prompt: chat["add_generation_prompt"] == true,
        continue_final_message: chat["continue_final_message"] == true,
        kwargs: chat["kwargs"].as_object().cloned().unwrap_or_default(),
    };
    for now in [0, 1_700_000_000, u64::MAX] {
        match template.render(&input, now) {
            Ok(text) => assert!(text.len() <= RENDERED_BYTES_MAX),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
