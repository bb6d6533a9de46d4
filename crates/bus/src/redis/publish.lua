-- Appends a message to a room's log and publishes it, or returns the position of the message that the user sent under the
-- same id within the last ten minutes.
-- Needs Redis 7.0 (XADD with <ms>-*) or Valkey. One hash slot: all keys share the hash tag {room}.
--
-- Before this text is loaded, @GENERATION@ is replaced by the generation of the Redis into which it is loaded: the run_id
-- and master_replid that INFO returned on the same connection. No other run of Redis knows the hash of the text, so an
-- EVALSHA by a gateway that has not noticed a restart or a failover fails with NOSCRIPT and writes nothing.
--
-- @PUBLISH@ is replaced by PUBLISH, or by SPUBLISH in a cluster.
--
-- KEYS[1]  log   stream; entry <epoch>-<offset>, fields id, user, text or data, at; prev on the first entry of an epoch;
--                name, ref and event where the message has them
-- KEYS[2]  meta  hash; gen: generation of the last write, epoch: current epoch, kept: time at which expiries were set,
--                d:<position>: the text at this position was deleted
-- KEYS[3]  ids of even ten-minute buckets, hash; field user:id, value position
-- KEYS[4]  ids of odd ten-minute buckets, likewise
-- ARGV[1]  user
-- ARGV[2]  id     of [A-Za-z0-9_-], so that user:id is unambiguous whatever the name of the user contains
-- ARGV[3]  text or data; empty in a deletion
-- ARGV[4]  channel to publish to
-- ARGV[5]  minimum number of entries to retain; whole nodes are trimmed, so up to stream-node-max-entries more remain
-- ARGV[6]  minimum time for which log and meta live without a send, in ms
-- Only for messages that are more than a plain text:
-- ARGV[7]  name of the author, or empty
-- ARGV[8]  ref: position of the message that is answered or amended, or empty
-- ARGV[9]  event, or empty; edit, delete and react amend the text at ref
-- ARGV[10] name of the field for ARGV[3]: text or data
-- ARGV[11] 1 if the author may delete the texts of others
--
-- Reply: {position, 0}, or {position, 1} if the message was in the log already and nothing was written, or
-- {'not_found', 2} or {'forbidden', 2} if the message to amend is no text that is retained and not deleted, or has another
-- author, and nothing was written.
--
-- Cost: see `cargo run --release -p trunkline-bus --example cost`. A remembered id takes about 100 bytes.
--
-- Writes come before PUBLISH, and the write that Redis may refuse (OOM, MISCONF, READONLY, NOREPLICAS) comes first: a
-- refusal changes nothing and publishes nothing.

local log, meta = KEYS[1], KEYS[2]
local user, id, text, channel, retain = unpack(ARGV)
local retain_ms = tonumber(ARGV[6])
local BUCKET_MS = 600000

local id_field = user .. ':' .. id
local earlier = redis.call('HGET', KEYS[3], id_field) or redis.call('HGET', KEYS[4], id_field)
if earlier then
  return {earlier, 1}
end

local more, body_field, amends = {}, 'text', nil
local name, ref, event = ARGV[7], ARGV[8], ARGV[9]
if name then
  body_field = ARGV[10]
  for _, field in ipairs({{'name', name}, {'ref', ref}, {'event', event}}) do
    if field[2] ~= '' then
      more[#more + 1] = field[1]
      more[#more + 1] = field[2]
    end
  end
  amends = event == 'edit' or event == 'delete' or event == 'react'
end
if amends then
  local found = redis.call('XRANGE', log, ref, ref)[1]
  local original = {}
  for index = 1, found and #found[2] or 0, 2 do
    original[found[2][index]] = found[2][index + 1]
  end
  if not original.text or original.event or redis.call('HEXISTS', meta, 'd:' .. ref) == 1 then
    return {'not_found', 2}
  end
  if event ~= 'react' and original.user ~= user and not (event == 'delete' and ARGV[11] == '1') then
    return {'forbidden', 2}
  end
end

-- The time in ms is concatenated as text: formatting a number takes Lua longer than many commands take Redis.
local time = redis.call('TIME')
local at = time[1] .. string.sub('00000' .. time[2], -6, -4)
local now = tonumber(at)

local state = redis.call('HMGET', meta, 'gen', 'epoch', 'kept')
local generation, last_epoch, expiries_set_at = state[1], tonumber(state[2] or 0), tonumber(state[3] or 0)
-- '-' stands for the previous offset of the same epoch.
local pos, prev = nil, '-'
if generation == '@GENERATION@' then
  -- NOMKSTREAM: without the log, <epoch>-* would start at offset 0 and repeat positions; the reply is nil then. The command
  -- fails if another program appended to the stream. In both cases a new epoch continues after the last entry. If it fails
  -- for another reason (no memory), the XADD below fails in the same way, and its error is the reply.
  local reply = redis.pcall('XADD', log, 'NOMKSTREAM', 'MAXLEN', '~', retain, state[2] .. '-*',
    'id', id, 'user', user, body_field, text, 'at', at, unpack(more))
  if type(reply) == 'string' then
    pos = reply
  end
end
if not pos then
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  prev = last and last[1] or '0-0'
  local epoch = math.max(now, last_epoch + 1, tonumber(string.match(prev, '^%d+')) + 1)
  epoch = string.format('%.0f', epoch)
  more[#more + 1] = 'prev'
  more[#more + 1] = prev
  pos = redis.call('XADD', log, 'MAXLEN', '~', retain, epoch .. '-1',
    'id', id, 'user', user, body_field, text, 'at', at, unpack(more))
  redis.call('HSET', meta, 'gen', '@GENERATION@', 'epoch', epoch)
  expiries_set_at = 0
end

if event == 'delete' then
  redis.call('HSET', meta, 'd:' .. ref, pos)
  -- Deletions of texts that were trimmed are forgotten once as many fields exist as the log has entries, and 1,000 more.
  if redis.call('HLEN', meta) > tonumber(retain) + 1000 then
    local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1][1]
    local first_epoch, first_offset = string.match(first, '(%d+)-(%d+)')
    for _, field in ipairs(redis.call('HKEYS', meta)) do
      local epoch, offset = string.match(field, '^d:(%d+)-(%d+)$')
      epoch, offset = tonumber(epoch), tonumber(offset)
      if epoch and (epoch < tonumber(first_epoch)
          or (epoch == tonumber(first_epoch) and offset < tonumber(first_offset))) then
        redis.call('HDEL', meta, field)
      end
    end
  end
end

local bucket = math.floor(now / BUCKET_MS)
local ids = KEYS[3 + bucket % 2]
redis.call('HSET', ids, id_field, pos)

-- Expiries are set once per reserve, not once per message, and later than required by that reserve.
local reserve = math.min(BUCKET_MS, retain_ms / 10)
if now >= expiries_set_at + reserve or now < expiries_set_at or bucket ~= math.floor(expiries_set_at / BUCKET_MS) then
  -- A bucket expires as a whole, at the moment when the bucket after the next needs its key.
  redis.call('PEXPIREAT', ids, string.format('%.0f', (bucket + 2) * BUCKET_MS))
  local expiry = string.format('%.0f', retain_ms + reserve)
  redis.call('PEXPIRE', log, expiry)
  redis.call('PEXPIRE', meta, expiry)
  redis.call('HSET', meta, 'kept', at)
end

local header = pos .. ' ' .. prev .. ' ' .. at .. ' ' .. id .. ' ' .. user
if name then
  local dash = function(value) return value == '' and '-' or value end
  redis.call('@PUBLISH@', channel, 'x' .. header .. ' ' .. dash(ref) .. ' ' .. dash(event) .. '\n' .. name .. '\n' .. text)
else
  redis.call('@PUBLISH@', channel, 'e' .. header .. '\n' .. text)
end
return {pos, 0}
