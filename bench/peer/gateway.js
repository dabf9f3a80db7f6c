// The peer of `cargo xtask bench --cluster`: RabbitMQ to WebSocket with amqplib and ws, as their readmes have it. One
// consumer with manual acks, a map from client id to socket. `node gateway.js AMQP_URL` says where it listens.
'use strict';

const { randomUUID } = require('node:crypto');
const amqp = require('amqplib');
const { WebSocketServer } = require('ws');

const SERVER_ID = 'node-0';
// As Stepcast's gateway has it.
const PREFETCH = 4000;

async function main(url) {
  const clients = new Map();
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, backlog: 4096, perMessageDeflate: false });
  server.on('connection', (socket) => {
    const id = randomUUID();
    clients.set(id, socket);
    socket.on('error', () => {});
    socket.on('close', () => clients.delete(id));
    socket.send(JSON.stringify({ type: 'hello', client_id: id, server_id: SERVER_ID }));
  });
  const connection = await amqp.connect(url);
  const channel = await connection.createChannel();
  await channel.assertQueue(SERVER_ID, { durable: true });
  await channel.bindQueue(SERVER_ID, 'utils', SERVER_ID);
  await channel.prefetch(PREFETCH);
  await channel.consume(SERVER_ID, (message) => {
    if (message === null) process.exit(1); // The queue is gone.
    const { client_id: id, payload } = JSON.parse(message.content.toString());
    // It may have gone: then this is lost.
    clients.get(id)?.send(JSON.stringify({ type: 'callback', payload }));
    channel.ack(message);
  });
  const { address, port } = server.address();
  console.log(`Listening on ${address}:${port}`);
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
