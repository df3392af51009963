// The servers that run.py started, as clients of the openai SDK that repeat no request.

import OpenAI from 'openai';

const described = JSON.parse(process.env.CANDELA_SERVERS);

export const root = described.roots.demo;
export const key = described.key;

export function connect(name, apiKey = 'unused') {
  return new OpenAI({ baseURL: `${described.roots[name]}/v1`, apiKey, maxRetries: 0, timeout: 60_000 });
}

export const GREEDY = { model: 'demo', temperature: 0 };
export const FOX = [{ role: 'user', content: 'What is a fox?' }];
export const WEATHER_QUESTION = [{ role: 'user', content: 'What is the weather in Rome?' }];

// The value of a metric, over all its lines that carry the label.
export async function metric(name, label = '') {
  const text = await (await fetch(`${root}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`) && line.includes(label));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

export async function until(what, condition) {
  const deadline = Date.now() + 30_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within 30 s: ${what}`);
    await new Promise((resume) => setTimeout(resume, 20));
  }
}
