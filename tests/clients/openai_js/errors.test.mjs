// Refusals as the SDK's own errors, and embeddings, with the openai SDK for JavaScript.

import assert from 'node:assert/strict';
import test from 'node:test';

import OpenAI from 'openai';

import { FOX, connect, key } from './servers.mjs';

const client = connect('demo');
const embedder = connect('embed');

const REFUSED = {
  temperature: { temperature: -1 },
  n: { n: 0 },
  messages: { messages: [] },
  max_tokens: { max_tokens: 0 },
  tools: { tools: [] },
  stream_options: { stream_options: { include_usage: true } },
};

for (const [param, fields] of Object.entries(REFUSED)) {
  test(`a bad ${param} is a bad request that names it`, async () => {
    const asked = client.chat.completions.create({ model: 'demo', messages: FOX, ...fields });
    await assert.rejects(asked, (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError, error);
      assert.equal(error.status, 400);
      assert.equal(error.param, param);
      assert.equal(error.type, 'BadRequestError');
      assert.match(error.message, new RegExp(param));
      return true;
    });
  });
}

test('an unknown model is not found', async () => {
  await assert.rejects(client.chat.completions.create({ model: 'gpt-9', messages: FOX }), OpenAI.NotFoundError);
  await assert.rejects(client.models.retrieve('gpt-9'), OpenAI.NotFoundError);
});

test('a key is needed where there is a file of keys', async () => {
  await assert.rejects(async () => connect('keyed', 'wrong').models.list(), OpenAI.AuthenticationError);
  assert.equal((await connect('keyed', key).models.list()).data[0].id, 'demo');
});

test('embeddings are base64 on the wire and floats here', async () => {
  const ask = { model: 'embed', input: 'A fox is a wild animal.' };
  const [encoded, floats] = [
    await embedder.embeddings.create(ask),
    await embedder.embeddings.create({ ...ask, encoding_format: 'float' }),
  ];
  const [a, b] = [encoded.data[0].embedding, floats.data[0].embedding];
  assert.equal(a.length, b.length);
  assert.ok(a.every((x, i) => Math.abs(x - b[i]) < 1e-6));
  assert.ok(Math.abs(a.reduce((sum, x) => sum + x * x, 0) - 1) < 1e-3);
  const { response } = await embedder.embeddings.create(ask).withResponse();
  assert.ok(response.headers.get('x-vllm-total-time'));
});
