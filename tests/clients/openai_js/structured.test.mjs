// Structured outputs, tool calls and the tool runner with the openai SDK for JavaScript.

import assert from 'node:assert/strict';
import test from 'node:test';

import { zodFunction, zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';

import { FOX, GREEDY, WEATHER_QUESTION, connect } from './servers.mjs';

const client = connect('demo');
const Animal = z.object({ legs: z.number().int().min(0).max(8), wild: z.boolean(), size: z.enum(['small', 'large']) });
const City = z.object({ city: z.string().describe('The name of the city') });
// A call of it that is drawn has ended before the limit of tokens at any temperature.
const BoundedCity = z.object({ city: z.string().max(12) });

function weather(asked, parameters = City) {
  return zodFunction({
    name: 'get_weather',
    description: 'Get the weather in a city',
    parameters,
    function: ({ city }) => {
      asked.push(city);
      return { sky: 'sunny', degrees: 21 };
    },
  });
}

test('parse gives what the zod schema says', async () => {
  for (const temperature of [0, 2]) {
    const answer = await client.chat.completions.parse({
      model: 'demo', messages: FOX, temperature, seed: 1, max_tokens: 200,
      response_format: zodResponseFormat(Animal, 'animal'),
    });
    const { parsed, content } = answer.choices[0].message;
    assert.deepEqual(parsed, Animal.parse(JSON.parse(content)));
  }
});

test('a streamed answer parses', async () => {
  const stream = client.chat.completions.stream({
    model: 'demo', messages: FOX, temperature: 1, seed: 2, max_tokens: 200,
    response_format: zodResponseFormat(Animal, 'animal'),
  });
  assert.ok(Animal.parse((await stream.finalChatCompletion()).choices[0].message.parsed));
});

test('structured_outputs of vLLM', async () => {
  const answer = await client.chat.completions.create({
    ...GREEDY, messages: FOX, structured_outputs: { choice: ['red', 'blue'] },
  });
  assert.ok(['red', 'blue'].includes(answer.choices[0].message.content));
});

test('a tool is called, with arguments that parse', async () => {
  const answer = await client.chat.completions.parse({ ...GREEDY, messages: WEATHER_QUESTION, tools: [weather([])] });
  const [call] = answer.choices[0].message.tool_calls;
  assert.equal(answer.choices[0].finish_reason, 'tool_calls');
  assert.deepEqual(call.function.parsed_arguments, { city: 'Rome' });
});

for (const tool_choice of ['required', { type: 'function', function: { name: 'get_weather' } }]) {
  test(`tool_choice ${JSON.stringify(tool_choice)}`, async () => {
    const answer = await client.chat.completions.create({
      model: 'demo', temperature: 1, seed: 4, messages: FOX, tools: [weather([], BoundedCity)], tool_choice,
      parallel_tool_calls: false, max_tokens: 200,
    });
    const [call] = answer.choices[0].message.tool_calls;
    assert.equal(call.function.name, 'get_weather');
    assert.ok(BoundedCity.parse(JSON.parse(call.function.arguments)));
  });
}

for (const stream of [false, true]) {
  test(`runTools calls the function and answers with its result, stream: ${stream}`, async () => {
    const asked = [];
    const runner = client.chat.completions.runTools({
      ...GREEDY, stream, messages: WEATHER_QUESTION, tools: [weather(asked)],
    });
    assert.match(await runner.finalContent(), /sunny/);
    assert.deepEqual(asked, ['Rome']);
  });
}

test('responses: create, stream, parse', async () => {
  const ask = { ...GREEDY, input: 'What is a fox?' };
  const { data: whole, response } = await client.responses.create(ask).withResponse();
  assert.match(whole.output_text, /fox/i);
  assert.equal(Number(response.headers.get('x-vllm-completion-tokens')), whole.usage.output_tokens);
  let deltas = '';
  let last;
  for await (const event of await client.responses.create({ ...ask, stream: true })) {
    if (event.type === 'response.output_text.delta') deltas += event.delta;
    last = event;
  }
  assert.equal(deltas, whole.output_text);
  assert.equal(last.type, 'response.completed');
  const parsed = await client.responses.parse({
    ...ask, temperature: 1, text: { format: zodTextFormat(Animal, 'animal') },
  });
  assert.ok(Animal.parse(parsed.output_parsed));
});

test('responses: a function is called', async () => {
  const { output } = await client.responses.create({
    ...GREEDY,
    input: 'What is the weather in Rome?',
    tools: [{
      type: 'function', name: 'get_weather', description: 'Get the weather in a city', strict: true,
      parameters: {
        type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false,
      },
    }],
  });
  const call = output.find((item) => item.type === 'function_call');
  assert.equal(call.name, 'get_weather');
  assert.deepEqual(JSON.parse(call.arguments), { city: 'Rome' });
});
