// Chat and text completions with the openai SDK for JavaScript.

import assert from 'node:assert/strict';
import test from 'node:test';

import OpenAI from 'openai';

import { FOX, GREEDY, connect, metric, until } from './servers.mjs';

const client = connect('demo');
const text = (completion) => completion.choices[0].message.content;
const METRICS = [
  'cached_tokens', 'compute_time_ms', 'generation_time_ms', 'inference_time_ms', 'mean_itl_ms', 'prefill_time_ms',
  'queue_time_ms', 'time_to_first_token_ms', 'tokens_per_second', 'total_time_ms',
];

test('an answer has the shape that the types say', async () => {
  const answer = await client.chat.completions.create({ ...GREEDY, messages: FOX });
  assert.match(answer.id, /^chatcmpl-/);
  assert.match(text(answer), /fox/i);
  assert.equal(answer.object, 'chat.completion');
  assert.equal(answer.choices[0].finish_reason, 'stop');
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  assert.deepEqual(
    Object.keys(answer).sort(),
    ['choices', 'created', 'id', 'model', 'object', 'system_fingerprint', 'usage'],
  );
});

test('withResponse gives the headers', async () => {
  const { data, response, request_id } = await client.chat.completions
    .create({ ...GREEDY, messages: FOX })
    .withResponse();
  assert.equal(Number(response.headers.get('x-vllm-completion-tokens')), data.usage.completion_tokens);
  assert.ok(Number(response.headers.get('x-candela-compute-time')) > 0);
  assert.equal(response.headers.get('x-request-id'), request_id);
});

test('asResponse gives the body as it is', async () => {
  const response = await client.chat.completions.create({ ...GREEDY, messages: FOX }).asResponse();
  assert.ok(response.headers.get('x-vllm-total-time'));
  assert.equal((await response.json()).object, 'chat.completion');
});

test('metrics are in the body when asked for', async () => {
  const answer = await client.chat.completions.create({ ...GREEDY, messages: FOX, include_metrics: true });
  assert.deepEqual(Object.keys(answer.metrics).sort(), METRICS);
});

test('a stream is the whole answer in pieces, and ends with usage and metrics', async () => {
  const stream = await client.chat.completions.create({
    ...GREEDY, messages: FOX, stream: true, stream_options: { include_usage: true }, include_metrics: true,
  });
  let streamed = '';
  let last;
  for await (const chunk of stream) {
    streamed += chunk.choices[0]?.delta.content ?? '';
    last = chunk;
  }
  assert.deepEqual(last.choices, []);
  assert.ok(last.usage.completion_tokens > 0);
  assert.deepEqual(Object.keys(last.metrics).sort(), METRICS);
  assert.equal(streamed, text(await client.chat.completions.create({ ...GREEDY, messages: FOX })));
});

test('the stream helper accumulates', async () => {
  const stream = client.chat.completions.stream({ ...GREEDY, messages: FOX });
  let deltas = '';
  stream.on('content', (delta) => (deltas += delta));
  assert.equal(text(await stream.finalChatCompletion()), deltas);
});

test('aborting a stream cancels the request', async () => {
  const aborted = () => metric('vllm:request_success_total', 'finished_reason="abort"');
  const before = await aborted();
  const stream = await client.chat.completions.create({
    ...GREEDY, messages: FOX, stream: true, ignore_eos: true, max_tokens: 1800,
  });
  for await (const chunk of stream) {
    if (chunk.choices[0].delta.content) break;
  }
  stream.controller.abort();
  await until('the request is aborted', async () => (await aborted()) === before + 1);
});

test('a signal aborts a request that is not streamed', async () => {
  const controller = new AbortController();
  const asked = client.chat.completions.create(
    { ...GREEDY, messages: FOX, ignore_eos: true, max_tokens: 1800 }, { signal: controller.signal },
  );
  const refused = assert.rejects(asked, OpenAI.APIUserAbortError);
  await until('it runs', async () => (await metric('vllm:num_requests_running')) > 0);
  controller.abort();
  await refused;
  await until('nothing runs', async () => (await metric('vllm:num_requests_running')) === 0);
});

test('n, seed, stop and log probabilities', async () => {
  const ask = { model: 'demo', messages: FOX, temperature: 1, seed: 7, n: 2, max_tokens: 8 };
  const [first, again] = [await client.chat.completions.create(ask), await client.chat.completions.create(ask)];
  assert.deepEqual(first.choices, again.choices);
  assert.equal(first.choices.length, 2);
  const stopped = await client.chat.completions.create({ ...GREEDY, messages: FOX, stop: ' is' });
  assert.ok(!text(stopped).includes(' is'));
  const scored = await client.chat.completions.create({
    ...GREEDY, messages: FOX, logprobs: true, top_logprobs: 2, max_tokens: 4,
  });
  const tokens = scored.choices[0].logprobs.content;
  assert.equal(tokens.map((token) => token.token).join(''), text(scored));
  assert.ok(tokens.every((token) => token.top_logprobs.length === 2 && token.logprob <= 0));
});

test('text completions, whole and streamed', async () => {
  const ask = { ...GREEDY, prompt: 'Once upon a time', max_tokens: 8 };
  const whole = await client.completions.create(ask);
  let streamed = '';
  for await (const chunk of await client.completions.create({ ...ask, stream: true })) streamed += chunk.choices[0].text;
  assert.equal(streamed, whole.choices[0].text);
});

test('models are listed and found', async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.deepEqual(ids, ['demo']);
  assert.equal((await client.models.retrieve('demo')).owned_by, 'candela');
});
