-- flow_expand: append the next jobs of a stage that fans out over a list.
--
-- uses  ledger append accept finish flow
-- ARGV  id     str  flow
--       stage  str
--       total  int  length of the list
--       from   int  index of the first row
--       rest...  a row each, as in accept
-- Returns the index that comes next; `total` says that all are there, -1 that the flow has stopped.
local key = flow_ .. id
total, from = tonumber(total), tonumber(from)
if redis.call('HGET', key, 'state') ~= 'running' then
  redis.call('SREM', flow_fans, id .. '|' .. stage)
  return -1
end
local reached = tonumber(redis.call('HGET', key, 'x:' .. stage) or 0)
if reached ~= from then return reached end
if not redis.call('HGET', key, 'n:' .. stage) then
  redis.call('HSET', key, 'n:' .. stage, total, 'l:' .. stage, total)
end

local index, done = from, 0
for i = rest, #ARGV, ROW do
  local state, created = accept(ARGV, i, id, stage .. ':' .. index, true)
  if created == 1 then
    redis.call('RPUSH', flow_jobs_ .. id, ARGV[i])
    redis.call('HINCRBY', key, 'open', 1)
  elseif state == 'succeeded' then
    redis.call('PERSIST', job_ .. ARGV[i])
    redis.call('PERSIST', result_ .. ARGV[i])
    done = done + 1
  else
    revive(ARGV[i], 'waiting')
    redis.call('HINCRBY', key, 'open', 1)
  end
  index = index + 1
end
redis.call('HSET', key, 'x:' .. stage, index)
if index == total then redis.call('SREM', flow_fans, id .. '|' .. stage) end
if redis.call('HINCRBY', key, 'l:' .. stage, 0 - done) == 0 then step(id, 'after', stage, 1, 'good') end
close()
return index
