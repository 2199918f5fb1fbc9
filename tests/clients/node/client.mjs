// Does what a user of @clickhouse/client does, and prints one line for each thing; `done` is last.
import { Readable } from 'node:stream'
import { ClickHouseLogLevel, createClient } from '@clickhouse/client'

const env = process.env
const open = (who, compression) => createClient({
  url: env.CLICKHOUSE_URL,
  username: env[`${who}_USER`],
  password: env[`${who}_PASSWORD`],
  log: { level: ClickHouseLogLevel.OFF },
  compression: { request: compression, response: compression },
})

async function expectError(what, run) {
  try {
    await run()
    console.log(`no error for ${what}`)
  } catch (fault) {
    console.log(`error ${fault.code} for ${what}`)
  }
}

async function write(client) {
  await client.command({ query: 'DROP TABLE IF EXISTS node_rows' })
  await client.command({
    query: 'CREATE TABLE node_rows (id UInt32, name String) ENGINE = MergeTree ORDER BY id',
    clickhouse_settings: { wait_end_of_query: 1 },
  })
  await client.insert({
    table: 'node_rows', format: 'JSONEachRow',
    values: [{ id: 1, name: "it's №1" }, { id: 2, name: 'two' }],
  })
  await client.insert({
    table: 'node_rows', format: 'JSONCompactEachRow',
    values: Readable.from(Array.from({ length: 1000 }, (_, at) => [at + 3, `row ${at}`])),
  })
  console.log('inserted')
}

async function read(client) {
  const bound = await client.query({
    query: 'SELECT name FROM node_rows WHERE id = {id: UInt32}',
    query_params: { id: 1 }, format: 'JSONEachRow',
  })
  console.log(`bound ${(await bound.json())[0].name}`)
  const whole = await client.query({ query: 'SELECT count() AS n FROM node_rows', format: 'JSON' })
  console.log(`count ${(await whole.json()).data[0].n}`)
  const many = await client.query({
    query: 'SELECT number FROM numbers(300000)', format: 'JSONEachRow', query_id: env.QUERY_ID,
  })
  let rows = 0
  for await (const batch of many.stream()) rows += batch.length
  console.log(`streamed ${rows} ${many.query_id === env.QUERY_ID}`)
}

async function fail(client) {
  await expectError('missing table', () => client.query({ query: 'SELECT * FROM no_such_table' }))
  await expectError('syntax', () => client.query({ query: 'SELEC 1' }))
  const late = await client.query({
    query: 'SELECT throwIf(number = 3000000) AS x FROM numbers(5000000)', format: 'JSONEachRow',
  })
  try {
    for await (const batch of late.stream()) void batch
    console.log('no error in mid-stream')
  } catch {
    console.log('error in mid-stream')
  }
  const stop = new AbortController()
  const slow = client.query({ query: 'SELECT count() FROM numbers(1e12) WHERE sipHash64(number) = 1',
    abort_signal: stop.signal })
  setTimeout(() => stop.abort(), 300)
  await slow.then(() => console.log('not aborted'), () => console.log('aborted'))
}

for (const compression of [true, false]) {
  const client = open('WRITER', compression)
  console.log(`ping ${(await client.ping()).success}`)
  await write(client)
  await read(client)
  await fail(client)
  await client.close()
}
const reader = open('READER', true)
await expectError('reader writes', () => reader.command({ query: 'TRUNCATE TABLE node_rows' }))
await reader.close()
console.log('done')
