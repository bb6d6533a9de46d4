-- Appends a message to a room's log, or finds the one sent earlier under its id, and tells whoever listens.
-- Needs Redis 7.0 (XADD with <ms>-*) or any Valkey. One hash slot: all keys share the hash tag {room}.
--
-- Before this text is loaded, @GENERATION@ is replaced by the generation of the Redis that it is loaded into: the
-- run_id and master_replid that INFO answered on the same connection. Any other Redis run does not know the text's
-- hash, so EVALSHA by a gateway that has not noticed a restart or a failover answers NOSCRIPT and writes nothing.
--
-- KEYS[1]  log   stream; entry <epoch>-<offset>, fields id, user, text, at, and prev on an epoch's first entry
-- KEYS[2]  meta  hash; gen: the generation that wrote last, epoch: the current epoch, kept: when expiries were last set
-- KEYS[3]  ids of even ten-minute buckets, hash; field user:id, value position
-- KEYS[4]  ids of odd ten-minute buckets, the same
-- ARGV[1]  user
-- ARGV[2]  id     of [A-Za-z0-9_-], so that user:id is unambiguous whatever the user's name holds
-- ARGV[3]  text
-- ARGV[4]  channel to publish on
-- ARGV[5]  how many entries to keep, about: whole nodes are trimmed, so up to stream-node-max-entries more stay
-- ARGV[6]  how long log and meta live at least without a send, in milliseconds
--
-- Reply: {position, 0}, or {position, 1} if the message stood already and nothing was written.
--
-- Cost: `cargo run --release -p trunkline-bus --example cost`. A remembered id takes about 100 bytes.
--
-- Writes come before PUBLISH, and the write that may be refused (OOM, MISCONF, READONLY, NOREPLICAS) comes first of
-- all: a refusal leaves nothing behind and tells nobody.

local log, meta = KEYS[1], KEYS[2]
local user, id, text, channel, retain = unpack(ARGV)
local retain_ms = tonumber(ARGV[6])
local BUCKET = 600000

local sent = user .. ':' .. id
local earlier = redis.call('HGET', KEYS[3], sent) or redis.call('HGET', KEYS[4], sent)
if earlier then
  return {earlier, 1}
end

-- Milliseconds are put together as text: to format a number takes Lua longer than many a command takes Redis.
local time = redis.call('TIME')
local at = time[1] .. string.sub('00000' .. time[2], -6, -4)
local now = tonumber(at)

local known = redis.call('HMGET', meta, 'gen', 'epoch', 'kept')
local kept = tonumber(known[3] or 0)
-- '-' is the offset before in the same epoch.
local pos, prev = nil, '-'
if known[1] == '@GENERATION@' then
  -- Without the log, <epoch>-* would begin at offset 0, and repeat positions: NOMKSTREAM then answers nothing. Fails where
  -- somebody else appended to the stream too. In both cases a new epoch goes on after what there is. Where it fails for
  -- want of memory and the like, the append below fails alike, and that error is the answer.
  local reply = redis.pcall('XADD', log, 'NOMKSTREAM', 'MAXLEN', '~', retain, known[2] .. '-*',
    'id', id, 'user', user, 'text', text, 'at', at)
  if type(reply) == 'string' then
    pos = reply
  end
end
if not pos then
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  prev = last and last[1] or '0-0'
  local epoch = math.max(now, tonumber(known[2] or 0) + 1, tonumber(string.match(prev, '^%d+')) + 1)
  epoch = string.format('%.0f', epoch)
  pos = redis.call('XADD', log, 'MAXLEN', '~', retain, epoch .. '-1',
    'id', id, 'user', user, 'text', text, 'at', at, 'prev', prev)
  redis.call('HSET', meta, 'gen', '@GENERATION@', 'epoch', epoch)
  kept = 0
end

local bucket = math.floor(now / BUCKET)
local ids = KEYS[3 + bucket % 2]
redis.call('HSET', ids, sent, pos)

-- Expiries are set once in a while, not with each message, and with that while in reserve.
local spare = math.min(BUCKET, retain_ms / 10)
if now >= kept + spare or now < kept or bucket ~= math.floor(kept / BUCKET) then
  -- A bucket expires whole, at the very moment when its key is needed for the bucket after the next.
  redis.call('PEXPIREAT', ids, string.format('%.0f', (bucket + 2) * BUCKET))
  local expiry = string.format('%.0f', retain_ms + spare)
  redis.call('PEXPIRE', log, expiry)
  redis.call('PEXPIRE', meta, expiry)
  redis.call('HSET', meta, 'kept', at)
end

redis.call('PUBLISH', channel, 'e' .. pos .. ' ' .. prev .. ' ' .. at .. ' ' .. id .. ' ' .. user .. '\n' .. text)
return {pos, 0}
