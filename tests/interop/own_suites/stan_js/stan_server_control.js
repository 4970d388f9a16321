'use strict'
// Stands in for the file of this name in stan.js's own tests, which gives a server 250 ms to listen and starts the next one on a
// port whose owner was only just signalled. Here a server is started when its predecessor is gone, and is awaited by its log.

const { spawn } = require('child_process')
const fs = require('fs')
const os = require('os')
const path = require('path')

const READY = 'Streaming Server is ready'
const READY_MS_MAX = 20000
const LOOK_MS = 10

const predecessors = new Map()

class Server {
  constructor (port, flags, done) {
    this.log = path.join(os.tmpdir(), `stan_log_${port}_${process.hrtime.bigint()}.log`)
    this.killed = false
    const predecessor = predecessors.get(port)
    this.ended = (predecessor ? predecessor.ended : Promise.resolve()).then(() => this.run(port, flags, done))
    predecessors.set(port, this)
  }

  run (port, flags, done) {
    if (this.killed) return
    this.child = spawn('nats-streaming-server', ['-p', port, '-SDV', '-log', this.log, ...flags], { stdio: 'ignore' })
    const deadline = Date.now() + READY_MS_MAX
    let waiting = true
    const settle = error => {
      if (!waiting) return
      waiting = false
      clearInterval(timer)
      done(error)
    }
    const timer = setInterval(() => {
      if (fs.existsSync(this.log) && fs.readFileSync(this.log, 'utf8').includes(READY)) settle()
      else if (Date.now() > deadline) settle(new Error(`server on port ${port} is not ready`))
    }, LOOK_MS)
    return new Promise(resolve => {
      this.child.on('close', (code, signal) => {
        settle(new Error(`server on port ${port} ended before it was ready (${code}, ${signal})`))
        resolve()
      })
    })
  }

  kill () {
    this.killed = true
    if (this.child) this.child.kill()
  }
}

exports.start_server = function (port, flags, done) {
  if (typeof flags === 'function') {
    done = flags
    flags = undefined
  }
  return new Server(String(port), flags || [], done || (() => {}))
}

exports.stop_server = function (server) {
  if (server !== undefined) server.kill()
}
