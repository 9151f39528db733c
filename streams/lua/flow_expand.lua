-- flow_expand: append the next jobs of a stage that fans out over a list.
--
-- uses  ledger append accept finish flow
-- ARGV  id     str  flow
--       round  int  of the flow, in which the list was to be fanned out
--       stage  str
--       total  int  length of the list
--       from   int  index of the first row
--       rest...  a row each, as in accept; its id is empty where there is no item: the job that should
--                have made it did not succeed
-- Returns the index that comes next; `total` says that all are there, -1 that the flow has stopped, or has another round.
local key, fan = flow_ .. id, id .. '|' .. round .. '|' .. stage
total, from = tonumber(total), tonumber(from)
if redis.call('HGET', key, 'state') ~= 'running' or round_of(id) ~= round then
  redis.call('SREM', flow_fans, fan)
  return -1
end
local row = redis.call('HMGET', key, 'x:' .. stage, 'n:' .. stage)
local reached, known = tonumber(row[1] or 0), tonumber(row[2])
if reached ~= from or known == reached then return reached end -- somebody else has been here
if not known then redis.call('HSET', key, 'n:' .. stage, total, 'l:' .. stage, total) end

local index, done = from, 0
for i = rest, #ARGV, ROW do
  local none = ARGV[i] == ''
  local state, created
  if not none then state, created = accept(ARGV, i, id, stage .. ':' .. index, true) end
  if none then
    done = done + 1
  elseif created == 1 then
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
if index == total then redis.call('SREM', flow_fans, fan) end
if redis.call('HINCRBY', key, 'l:' .. stage, 0 - done) == 0 then
  local bad = tonumber(redis.call('HGET', key, 'b:' .. stage) or 0) > 0 -- of those that came first
  step(id, 'after', stage, 1, bad and 'bad' or 'good')
end
close()
return index
