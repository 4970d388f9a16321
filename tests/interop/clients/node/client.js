'use strict'
// The scenario program for npm's node-nats-streaming. It obeys the line protocol of ../../README.md and decides nothing itself.

const readline = require('readline')
const stan = require('node-nats-streaming')

let connection
const subscriptions = new Map()
const received = new Map()

function emit (...words) {
  process.stdout.write(words.join(' ') + '\n')
}

function hex (bytes) {
  return bytes.length === 0 ? '-' : Buffer.from(bytes).toString('hex')
}

function bytes (word) {
  return word === '-' ? Buffer.alloc(0) : Buffer.from(word, 'hex')
}

function connect (url, cluster, client, pingSeconds, pingMaxOut) {
  return new Promise((resolve, reject) => {
    connection = stan.connect(cluster, client, {
      url,
      stanEncoding: 'binary',
      connectTimeout: 5000,
      stanPingInterval: Number(pingSeconds) * 1000,
      stanMaxPingOut: Number(pingMaxOut),
      reconnectTimeWait: 100,
      maxReconnectAttempts: -1
    })
    connection.on('connect', () => resolve())
    connection.on('error', error => reject(error))
    connection.on('connection_lost', error => emit('lost', String(error.message || error)))
  })
}

function publish (channel, payload) {
  return new Promise((resolve, reject) => {
    connection.publish(channel, payload, error => error ? reject(error) : resolve())
  })
}

function publishAsync (channel, count, payload) {
  const publishes = []
  for (let number = 1; number <= count; number++) {
    publishes.push(publish(channel, Buffer.concat([payload, Buffer.from(String(number))])))
  }
  return Promise.all(publishes)
}

function startAt (options, start) {
  const [kind, value] = start.split(':')
  switch (kind) {
    case 'new': return options.setStartAt(stan.StartPosition.NEW_ONLY)
    case 'last': return options.setStartWithLastReceived()
    case 'first': return options.setDeliverAllAvailable()
    case 'sequence': return options.setStartAtSequence(Number(value))
    case 'time': return options.setStartTime(new Date(Number(value)))
    case 'delta': return options.setStartAtTimeDelta(Number(value))
    default: throw new Error(`no start position ${start}`)
  }
}

function subscribe (name, channel, words) {
  const options = connection.subscriptionOptions()
  let queue
  for (const word of words) {
    const [key, value] = word.split(/=(.*)/)
    if (key === 'queue') queue = value
    else if (key === 'durable') options.setDurableName(value)
    else if (key === 'start') startAt(options, value)
    else if (key === 'max_in_flight') options.setMaxInFlight(Number(value))
    else if (key === 'ack_wait') options.setAckWait(Number(value) * 1000)
    else if (key === 'manual') options.setManualAckMode(true)
    else throw new Error(`no subscription option ${word}`)
  }
  return new Promise((resolve, reject) => {
    const subscription = queue ? connection.subscribe(channel, queue, options) : connection.subscribe(channel, options)
    subscription.on('ready', () => { subscriptions.set(name, subscription); resolve() })
    subscription.on('error', reject)
    subscription.on('timeout', reject)
    subscription.on('message', message => {
      received.set(`${name} ${message.getSequence()}`, message)
      emit('message', name, message.getSequence(), message.isRedelivered() ? 1 : 0, hex(message.getRawData()))
    })
  })
}

function leave (name, method, event) {
  return new Promise((resolve, reject) => {
    const subscription = subscriptions.get(name)
    subscription.on(event, () => resolve())
    subscription.on('error', reject)
    subscriptions.delete(name)
    subscription[method]()
  })
}

function close () {
  return new Promise(resolve => {
    connection.on('close', () => resolve())
    connection.close()
  })
}

async function obey (line) {
  const [command, ...words] = line.split(' ')
  switch (command) {
    case 'connect': return connect(...words)
    case 'publish': return publish(words[0], bytes(words[1]))
    case 'publish_async': return publishAsync(words[0], Number(words[1]), bytes(words[2]))
    case 'subscribe': return subscribe(words[0], words[1], words.slice(2))
    case 'ack': return received.get(words.join(' ')).ack()
    case 'unsubscribe': return leave(words[0], 'unsubscribe', 'unsubscribed')
    case 'close_subscription': return leave(words[0], 'close', 'closed')
    case 'close': return close()
    default: throw new Error(`no command ${line}`)
  }
}

async function main () {
  for await (const line of readline.createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    try {
      await obey(line)
      emit('ok')
    } catch (error) {
      emit('error', String(error.message || error).replace(/\s+/g, ' '))
    }
  }
  process.exit(0)
}

main()
